"""Iso-CTS (arXiv 2502.04959): Iso-C with directions of single tasks in place of the weakest.

1. ``sum_t D_t = U S Vᵀ`` of rank p; its k largest directions ``U_c, S_c, V_c`` are the common ones.
2. Of what is left of each task, ``D_t - U_c U_cᵀ D_t``, the ``(p - k) // T`` largest directions are
   that task's own.
3. All left directions together, and all right ones, are replaced by the nearest orthonormal ones,
   ``U*`` and ``V*``, as in TSV-Merge; ``D = scale * mean(S_c, S_1, …, S_T) * U* V*ᵀ``.

The paper merges full-rank matrices, where p is ``min(out, in)``. The rank of a sum of low-rank
deltas is at most the sum of theirs, to which p is limited here [derived]. SVDs are computed in
factor space.
"""

import torch

from ..adapters import AdapterSet
from ..errors import MergeError
from ..factors import Factors, svd
from ..stored import MergedAdapters
from .assemble import merge_modules
from .registry import merging_method
from .tsv_merge import decorrelated

NAME = "iso-cts"


@merging_method(name=NAME, paper="Iso-CTS, arXiv 2502.04959", storage="m n")
def iso_cts(
    adapters: AdapterSet, *, common: float = 0.8, scale: float = 1.0, rank: int | None = None
) -> MergedAdapters:
    """Merge into one A and one B per module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        common: share of the directions that are common, in [0, 1]; the paper's is 0.8.
        scale: weight of the merged delta.
        rank: rank of the result; defaults to ``min(out, in, sum of ranks)``, which is lossless.

    Raises:
        MergeError: ``common`` is outside [0, 1], or ``rank`` below 1.
    """
    if not 0 <= common <= 1:
        raise MergeError(f"common is {common}, expected 0 to 1, a share of the directions")

    def merge(adapters: AdapterSet, module: str) -> Factors:
        stack = adapters.stack(module)
        u, s, vh = svd(Factors(stack.a, stack.b))
        tasks = len(adapters.tasks)
        own = (len(s) - int(common * len(s))) // tasks
        first = len(s) - own * tasks  # so that the tasks' own directions are equally many
        lefts, sizes, rights = [u[:, :first]], [s[:first]], [vh[:first].T]
        for task in stack.owner.unique():
            mine = stack.owner == task
            b = stack.b[:, mine]
            left, size, right = svd(Factors(stack.a[mine], b - lefts[0] @ (lefts[0].T @ b)))
            lefts.append(left[:, :own])
            sizes.append(size[:own])
            rights.append(right[:own].T)
        left, right = (decorrelated(torch.cat(x, dim=1)) for x in (lefts, rights))
        return Factors(right.T, scale * torch.cat(sizes).mean() * left)

    return merge_modules(NAME, adapters, merge, rank, {"common": common, "scale": scale})
