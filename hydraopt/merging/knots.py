"""KnOTS (arXiv 2410.19735): one model, by TIES in the tasks' common left singular basis.

``[D_1 … D_T] = U S [V_1ᵀ … V_Tᵀ]``, so task t has coordinates ``X_t = S V_tᵀ = Uᵀ D_t`` in U. TIES
trims, elects and averages the X_t into X; ``D = scale * U X``.

U comes from the Gram matrix ``sum_t D_t D_tᵀ`` in the coordinates of the stacked B's, and
``X_t = (Uᵀ B_t) A_t`` is formed one task at a time. The result has the rank of U and is lossless
unless ``rank`` is smaller. Trimming is per module, as in ``ties``; the authors' code trims over all
modules.
"""

import torch

from ..adapters import AdapterSet
from ..factors import Factors, Stack
from ..stored import MergedAdapters
from .assemble import merge_modules
from .checks import check_density
from .elementwise import trimmed_mean
from .registry import merging_method

NAME = "knots"


@merging_method(name=NAME, paper="KnOTS, arXiv 2410.19735", storage="m n")
def knots(
    adapters: AdapterSet, *, density: float = 0.2, scale: float = 1.0, rank: int | None = None
) -> MergedAdapters:
    """Merge into one A and one B per module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        density: share of X_t's entries that trimming keeps, in (0, 1]. The authors use 0.2 for
            vision models and 1 for Llama 3 8B.
        scale: weight of the merged delta.
        rank: rank of the result; defaults to ``min(out, in, sum of ranks)``, which is lossless.

    Raises:
        MergeError: ``density`` is outside (0, 1] or ``rank`` below 1.
    """
    check_density(density)

    def merge(adapters: AdapterSet, module: str) -> Factors:
        stack = adapters.stack(module)
        basis = left_basis(stack, len(adapters.tasks))
        parts = task_parts(stack, basis)
        merged = trimmed_mean(parts, density)
        return Factors(scale * merged, basis.float())

    return merge_modules(NAME, adapters, merge, rank, {"density": density, "scale": scale})


def left_basis(stack: Stack, tasks: int) -> torch.Tensor:
    """Return the left singular vectors ``U [out, p]`` of ``[D_1 … D_T]``, largest first."""
    transposed = stack.transposed
    right = transposed.best_right(torch.eye(tasks, dtype=torch.float64), len(stack.owner))
    return (right.T @ transposed.split_a[1]).T


def task_parts(stack: Stack, basis: torch.Tensor):
    """Yield ``Uᵀ D_t [p, in]`` in float32 for every task that has the module."""
    seen = basis.T @ stack.b
    for task in stack.owner.unique():
        own = stack.owner == task
        yield (seen[:, own] @ stack.a[own]).float()
