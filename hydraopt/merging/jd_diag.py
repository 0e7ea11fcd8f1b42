"""JD-diag (Compress then Serve, arXiv 2407.00066): a shared basis and one diagonal per task.

Minimises ``sum_t ||D_t - U diag(s_t) Vᵀ||²`` over U ``[out, R]``, V ``[in, R]`` (not orthogonal)
and ``s_t [R]`` by alternating least squares:

- ``s_t = (UᵀU * VᵀV)⁻¹ diag(Uᵀ D_t V)``
- ``U = (sum_t D_t V diag(s_t)) (SᵀS * VᵀV)⁻¹``, where S ``[T, R]`` stacks all s_t; V likewise.

No step increases the error. U and V start from the singular vectors of the concatenated deltas; the
authors' code starts at random. The computation is exact in the coordinates of the stacked factors.
A is ``Vᵀ`` for all tasks; ``B_t = U diag(s_t)`` is stored as one U and the diagonals.
"""

import torch

from ..adapters import AdapterSet
from ..stored import MergedAdapters, Side
from .joint import Joint, merge_jointly
from .registry import merging_method

NAME = "jd-diag"

MAX_STEPS = 200
TOLERANCE = 1e-5  # stop when a step gains less than this share of the deltas' squared norm


@merging_method(
    name=NAME,
    paper="Compress then Serve, arXiv 2407.00066",
    per_task=True,
    storage="R (m + n) + T R",
)
def jd_diag(adapters: AdapterSet, *, rank: int | None = None) -> MergedAdapters:
    """Merge into one A and one U per module, and one diagonal per task and module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        rank: R; defaults to the adapters' largest rank, and is limited by ``out``, ``in`` and the
            sum of the ranks.

    Raises:
        MergeError: ``rank`` is below 1.
    """
    return merge_jointly(NAME, adapters, rank, _merge_module)


def _merge_module(joint: Joint, rank: int) -> tuple[Side, Side]:
    size = min(rank, joint.left.shape[1], joint.right.shape[1])
    u, v = joint.start(size)
    kept, energy = 0.0, joint.energy
    for _ in range(MAX_STEPS):
        seen = joint.sum((joint.left @ u) * (joint.right @ v))  # diag(Uᵀ D_t V)
        scales = _solve(seen, u, v)
        before, kept = kept, (seen * scales).sum().item()
        if kept - before <= TOLERANCE * energy:
            break
        weights = scales[joint.stack.owner]
        u = _unit(_solve(joint.left.T @ (weights * (joint.right @ v)), scales, v))
        scales = _solve(joint.sum((joint.left @ u) * (joint.right @ v)), u, v)
        weights = scales[joint.stack.owner]
        v = _unit(_solve(joint.right.T @ (weights * (joint.left @ u)), scales, u))
    return joint.sides(u, v, scales[:, None])


def _solve(values: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Solve a least-squares step's normal equations: ``values (xᵀx * yᵀy)⁻¹``."""
    return values @ torch.linalg.pinv((x.T @ x) * (y.T @ y), hermitian=True)


def _unit(x: torch.Tensor) -> torch.Tensor:
    """Normalise columns to length 1; the diagonals absorb the norms."""
    return torch.nn.functional.normalize(x, dim=0)
