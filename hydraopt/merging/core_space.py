"""Core Space (arXiv 2509.17786): TIES in the coordinates of all tasks' factors.

With the right singular vectors ``Q [p, in]`` of all A's together and the left ones ``P [out, q]``
of all B's together, ``D_t = P M_t Q`` exactly, with small cores ``M_t [q, p]``. The cores are
merged like dense deltas, here by TIES: ``D = scale * P M Q``. Merges that depend on inner products
alone, such as sums, TSV-Merge and Iso-C, are the same in these coordinates.

The paper takes A and B as they were trained. Here ``A_t = S^½ Vᵀ`` and ``B_t = U S^½`` of
``D_t = U S Vᵀ``, so that the result depends on the deltas alone [derived].
"""

import torch

from ..adapters import AdapterSet
from ..factors import Factors, svd
from ..stored import MergedAdapters
from .assemble import merge_modules
from .checks import check_density
from .elementwise import trimmed_mean
from .registry import merging_method

NAME = "core-space"

TOLERANCE = 1e-6  # of singular values, relative to the largest


@merging_method(name=NAME, paper="Core Space, arXiv 2509.17786", storage="m n")
def core_space(
    adapters: AdapterSet, *, density: float = 0.2, scale: float = 1.0, rank: int | None = None
) -> MergedAdapters:
    """Merge into one A and one B per module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        density: share of a core's entries that trimming keeps, in (0, 1].
        scale: weight of the merged delta.
        rank: rank of the result; defaults to ``min(out, in, sum of ranks)``, which is lossless.

    Raises:
        MergeError: ``density`` is outside (0, 1] or ``rank`` below 1.
    """
    check_density(density)

    def merge(adapters: AdapterSet, module: str) -> Factors:
        parts = [svd(x.factors[module]) for x in adapters.adapters if module in x.factors]
        left = _directions(torch.cat([x.u * x.s.sqrt() for x in parts], 1))
        right = _directions(torch.cat([x.vh.T * x.s.sqrt() for x in parts], 1))
        cores = ((left.T @ (x.u * x.s)) @ (x.vh @ right) for x in parts)
        merged = trimmed_mean(cores, density)
        return Factors(merged @ right.T, scale * left)

    return merge_modules(NAME, adapters, merge, rank, {"density": density, "scale": scale})


def _directions(columns: torch.Tensor) -> torch.Tensor:
    """Return the left singular vectors of ``columns [n, N]`` that are not zero, ``[n, p]``."""
    u, s, _ = torch.linalg.svd(columns, full_matrices=False)
    return u[:, s > TOLERANCE * s[:1]]
