"""Compress then Merge (arXiv 2606.03723): merge the tasks' cores in one pair of shared subspaces.

Subspaces ``U [out, R]`` and ``V [in, R]`` that keep most of all deltas are found from the weights
alone, each task is projected to its core ``S_t = Uᵀ D_t V [R, R]``, and the cores are merged like
dense deltas, here by TIES: ``D = scale * U M Vᵀ`` has rank R without a truncation afterwards.

U and V are those of JD-full, which minimise the sum of the tasks' squared errors [inferred: the
abstract says only that they are computed from the weights, for a structure that is common].
"""

from ..adapters import AdapterSet
from ..factors import Factors
from ..stored import MergedAdapters
from .assemble import merge_modules
from .checks import check_density, check_rank
from .elementwise import trimmed_mean
from .jd_full import joint_bases
from .joint import Joint
from .registry import merging_method

NAME = "ctm"


@merging_method(name=NAME, paper="Compress then Merge, arXiv 2606.03723", storage="R (m + n)")
def ctm(
    adapters: AdapterSet, *, density: float = 0.2, scale: float = 1.0, rank: int | None = None
) -> MergedAdapters:
    """Merge into one A and one B per module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        density: share of a core's entries that trimming keeps, in (0, 1].
        scale: weight of the merged delta.
        rank: R; defaults to the adapters' largest rank.

    Raises:
        MergeError: ``density`` is outside (0, 1] or ``rank`` below 1.
    """
    check_density(density)
    check_rank(rank)
    size = rank or adapters.max_rank

    def merge(adapters: AdapterSet, module: str) -> Factors:
        joint = Joint.from_stack(adapters.stack(module), len(adapters.tasks))
        u, v, cores = joint_bases(joint, size)
        owning = cores[joint.stack.owner.unique()]  # a task without the module has no vote
        merged = trimmed_mean(owning, density)
        b = scale * (joint.basis_left @ u @ merged)
        return Factors((v.T @ joint.basis_right).float(), b.float())

    return merge_modules(NAME, adapters, merge, size, {"density": density, "scale": scale})
