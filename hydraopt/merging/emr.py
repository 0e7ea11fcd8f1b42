"""EMR-Merging (arXiv 2405.17461): one unified delta, plus a one-bit mask and a scale per task.

- Elect, per entry: ``g = sign(sum_t D_t)`` and ``D_uni = g * max of |D_t| over tasks with sign g``.
- Mask: ``M_t = [D_t * g > 0]``.
- Rescale: ``l_t = sum |D_t| / sum |M_t * D_uni|``, one scale per task, summed over all modules.

Task t uses ``l_t * M_t * D_uni``. This is dense, so each task's delta is truncated to ``rank`` by
SVD to fit a slot. The relative error before rescaling is reported.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch

from ..adapters import AdapterSet
from ..stored import MergedAdapters, Side
from .assemble import merge_modules
from .elementwise import deltas
from .registry import merging_method

NAME = "emr"


@merging_method(
    name=NAME,
    paper="EMR-Merging, arXiv 2405.17461",
    per_task=True,
    storage="m n + T m n / 16, T scales in all",
)
def emr(adapters: AdapterSet, *, rank: int | None = None) -> MergedAdapters:
    """Merge into one A and one B per task and module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        rank: rank of the result; defaults to the adapters' largest rank.

    Raises:
        MergeError: ``rank`` is below 1.
    """
    before, after = (torch.zeros(len(adapters.tasks), dtype=torch.float64) for _ in range(2))

    def masked(module: str) -> Iterator[torch.Tensor]:
        sign = sum(deltas(adapters, module)).sign()
        largest = torch.zeros_like(sign)
        for x in deltas(adapters, module):
            largest = torch.maximum(largest, x * sign)
        unified = largest * sign
        for task, x in enumerate(deltas(adapters, module)):
            kept = unified * (x * sign > 0)
            before[task] += x.abs().sum(dtype=torch.float64)
            after[task] += kept.abs().sum(dtype=torch.float64)
            yield kept

    merged = merge_modules(NAME, adapters, masked, rank, {})
    scales = (before / after.clamp_min(1e-30)).float()[:, None, None]
    rescaled = {
        m: (a, Side(b.stack * scales, b.assignment)) for m, (a, b) in merged.modules.items()
    }
    return replace(merged, modules=rescaled)
