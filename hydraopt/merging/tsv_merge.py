"""TSV-Merge (arXiv 2412.00081): one model from the tasks' top singular directions, decorrelated.

1. ``D_t = U_t S_t V_tᵀ``, truncated to its ``k = min(out, in) // T`` largest singular values.
2. ``U = [U_1 … U_T]``, and V likewise, is replaced by the nearest matrix with orthonormal columns
   (orthogonal Procrustes): ``U (UᵀU)^(-1/2)``.
3. ``D = scale * U S Vᵀ``, where S holds all tasks' singular values.

SVDs are computed in factor space. Zero singular values are left out, and where tasks' directions
coincide, ``(UᵀU)^(-1/2)`` is the root of the pseudo-inverse [derived]; the authors' code completes
U with arbitrary vectors in both cases. Adapters with a common initialisation have nearly equal row
spaces: decorrelating V then changes them a lot, and the result is worse than a plain sum.
"""

import torch

from ..adapters import AdapterSet
from ..errors import MergeError
from ..factors import Factors, svd
from ..stored import MergedAdapters
from .assemble import merge_modules
from .registry import merging_method

NAME = "tsv-merge"

TOLERANCE = 1e-10  # of eigenvalues of UᵀU, relative to the largest


@merging_method(name=NAME, paper="TSV-Merge, arXiv 2412.00081", storage="m n")
def tsv_merge(
    adapters: AdapterSet, *, keep: int | None = None, scale: float = 1.0, rank: int | None = None
) -> MergedAdapters:
    """Merge into one A and one B per module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        keep: k, the singular directions to keep per task and module; defaults to
            ``max(1, min(out, in) // T)``.
        scale: weight of the merged delta.
        rank: rank of the result; defaults to ``min(out, in, sum of ranks)``, which is lossless.

    Raises:
        MergeError: ``keep`` or ``rank`` is below 1.
    """
    if keep is not None and keep < 1:
        raise MergeError(f"keep is {keep}, expected at least 1")

    def merge(adapters: AdapterSet, module: str) -> Factors:
        share = keep or max(1, min(adapters.shapes[module]) // len(adapters.tasks))
        owned = (x.factors[module] for x in adapters.adapters if module in x.factors)
        parts = [svd(Factors(f.a.double(), f.b.double())) for f in owned]
        u = torch.cat([u[:, :share] for u, _, _ in parts], dim=1)
        v = torch.cat([vh[:share].T for _, _, vh in parts], dim=1)
        s = torch.cat([s[:share] for _, s, _ in parts])
        return Factors(decorrelated(v).T, scale * decorrelated(u) * s)

    return merge_modules(NAME, adapters, merge, rank, {"keep": keep, "scale": scale})


def decorrelated(x: torch.Tensor) -> torch.Tensor:
    """Return the matrix nearest to ``x [n, p]`` with orthonormal columns, or rows if p > n."""
    values, vectors = torch.linalg.eigh(x.T @ x)
    used = values > TOLERANCE * values[-1:]
    vectors = vectors[:, used]
    return x @ (vectors / values[used].sqrt()) @ vectors.T
