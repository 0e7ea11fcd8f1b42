"""JD-full (Compress then Serve, arXiv 2407.00066): a shared basis and one small core per task.

Minimises ``sum_t ||D_t - U S_t Vᵀ||²`` over U ``[out, R]`` and V ``[in, R]`` with orthonormal
columns and full cores ``S_t [R, R]``. For given U and V the best cores are ``S_t = Uᵀ D_t V``, and
the error is ``sum_t ||D_t||² - ||S_t||²``. Orthogonal iteration updates U and V in turns,
``U <- orth(sum_t D_t V S_tᵀ)`` and ``V <- orth(sum_t D_tᵀ U S_t)``. It never increases the error
and converges to the same point as the SVDs of the authors' code. It starts from the singular
vectors of the concatenated deltas; theirs starts at random.

The computation is exact in the coordinates of the stacked factors. A is ``Vᵀ`` for all tasks;
``B_t = U S_t`` is stored as one U and the cores. Two options are left out: the authors' code can
normalise A and B first, and the paper clusters large collections.
"""

import torch
from torch.nn.functional import pad

from ..adapters import AdapterSet
from ..stored import MergedAdapters, Side
from .joint import Joint, merge_jointly
from .registry import merging_method

NAME = "jd-full"

MAX_STEPS = 200
TOLERANCE = 1e-7  # stop when a step gains less than this share of the deltas' squared norm


@merging_method(
    name=NAME,
    paper="Compress then Serve, arXiv 2407.00066",
    per_task=True,
    storage="R (m + n) + T R^2",
)
def jd_full(adapters: AdapterSet, *, rank: int | None = None) -> MergedAdapters:
    """Merge into one A and one U per module, and one core per task and module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        rank: R; defaults to the adapters' largest rank.

    Raises:
        MergeError: ``rank`` is below 1.
    """
    return merge_jointly(NAME, adapters, rank, _merge_module)


def _merge_module(joint: Joint, rank: int) -> tuple[Side, Side]:
    u, v, cores = joint_bases(joint, rank)
    rows, columns = cores.shape[1:]
    size = max(rows, columns)  # pad to square cores where out or in is below R
    cores = pad(cores, (0, size - columns, 0, size - rows))
    return joint.sides(pad(u, (0, size - rows)), pad(v, (0, size - columns)), cores)


def joint_bases(joint: Joint, rank: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return U ``[p, R]`` and V ``[q, R]`` in the coordinates of ``joint``, and all cores."""
    u, v = joint.start(rank)
    kept, energy = 0.0, joint.energy
    for _ in range(MAX_STEPS):
        cores = _cores(joint, u, v)
        before, kept = kept, cores.pow(2).sum().item()
        if kept - before <= TOLERANCE * energy:
            break
        owners = joint.stack.owner
        back = torch.einsum("nv,nuv->nu", joint.right @ v, cores[owners])
        u = torch.linalg.qr(joint.left.T @ back).Q
        back = torch.einsum("nu,nuv->nv", joint.left @ u, _cores(joint, u, v)[owners])
        v = torch.linalg.qr(joint.right.T @ back).Q
    return u, v, cores


def _cores(joint: Joint, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Return ``Uᵀ D_t V`` of all tasks, ``[T, R, R]``."""
    return joint.sum((joint.left @ u)[:, :, None] * (joint.right @ v)[:, None, :])
