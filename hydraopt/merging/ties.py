"""TIES-Merging (arXiv 2306.01708): one model from trimmed deltas that agree in sign.

1. Trim: keep the ``density`` share of each ``D_t``'s entries with the largest magnitudes.
2. Elect, per entry: the sign with the larger sum of magnitudes.
3. Disjoint merge: the mean of the trimmed entries with this sign, ignoring zeros.

``D`` is ``scale`` times that mean. The paper trims a task's whole vector; here each module is
trimmed separately, as in PEFT, so that modules can be merged one at a time. The result is dense: it
is truncated to ``rank`` by SVD and the relative error reported.
"""

import torch

from ..adapters import AdapterSet
from ..stored import MergedAdapters
from .assemble import merge_modules
from .checks import check_density
from .elementwise import deltas, trimmed_mean
from .registry import merging_method

NAME = "ties"


@merging_method(name=NAME, paper="TIES-Merging, arXiv 2306.01708", storage="m n")
def ties(
    adapters: AdapterSet, *, density: float = 0.2, scale: float = 1.0, rank: int | None = None
) -> MergedAdapters:
    """Merge into one A and one B per module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        density: share of entries that trimming keeps, in (0, 1].
        scale: weight of the merged delta.
        rank: rank of the result; defaults to ``min(out, in, sum of ranks)``.

    Raises:
        MergeError: ``density`` is outside (0, 1] or ``rank`` below 1.
    """
    check_density(density)

    def merge(adapters: AdapterSet, module: str) -> torch.Tensor:
        return scale * trimmed_mean(deltas(adapters, module), density)

    return merge_modules(NAME, adapters, merge, rank, {"density": density, "scale": scale})
