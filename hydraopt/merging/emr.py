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

from ..adapters import AdapterSet, each_module
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

    def masked(adapters: AdapterSet, module: str) -> Iterator[torch.Tensor]:
        return (kept for _, kept in _masked(adapters, module))

    def sizes(adapters: AdapterSet, module: str) -> torch.Tensor:
        """Sums of the magnitudes of each task's delta, and of what its mask keeps, ``[T, 2]``."""
        return torch.tensor(
            [
                [part.abs().sum(dtype=torch.float64).item() for part in pair]
                for pair in _masked(adapters, module)
            ],
            dtype=torch.float64,
        )

    sums = each_module(adapters, sizes, "measure").values()
    before, after = torch.stack(list(sums)).sum(0).T
    scales = (before / after.clamp_min(1e-30)).float()[:, None, None]
    merged = merge_modules(NAME, adapters, masked, rank, {})
    rescaled = {
        m: (a, Side(b.stack * scales, b.assignment)) for m, (a, b) in merged.modules.items()
    }
    return replace(merged, modules=rescaled)


def _masked(adapters: AdapterSet, module: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield each task's delta, and the masked unified delta, of one module."""
    sign = sum(deltas(adapters, module)).sign()
    largest = torch.zeros_like(sign)
    for x in deltas(adapters, module):
        largest = torch.maximum(largest, x * sign)
    unified = largest * sign
    for x in deltas(adapters, module):
        yield x, unified * (x * sign > 0)
