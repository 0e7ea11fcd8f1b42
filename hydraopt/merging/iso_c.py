"""Iso-C (arXiv 2502.04959): one model, the sum of the deltas with its singular values made equal.

``sum_t D_t = U S Vᵀ``; ``D = scale * mean(S) * U Vᵀ``.

A sum of low-rank deltas has a smaller rank than its shape allows. The mean is over its nonzero
singular values and ``U Vᵀ`` over their directions [derived]: the paper merges full-rank matrices,
and its code completes U and V by arbitrary directions where they are not. A ``rank`` below that
keeps the directions with the largest singular values.
"""

from ..adapters import AdapterSet
from ..factors import Factors, Svd, svd
from ..stored import MergedAdapters
from .assemble import merge_modules
from .registry import merging_method

NAME = "iso-c"


@merging_method(
    name=NAME,
    paper="Iso-C, arXiv 2502.04959",
    per_task=False,
    needs="nothing",
    storage="m n",
)
def iso_c(adapters: AdapterSet, *, scale: float = 1.0, rank: int | None = None) -> MergedAdapters:
    """Merge into one A and one B per module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        scale: weight of the merged delta.
        rank: of the result; by default ``min(out, in, sum of ranks)``, which loses nothing.

    Raises:
        MergeError: ``rank`` below 1.
    """

    def merge(module: str) -> Svd:
        stack = adapters.stack(module)
        u, s, vh = svd(Factors(stack.a, stack.b))
        return Svd(u, scale * s.mean().expand(len(s)), vh)

    return merge_modules(NAME, adapters, merge, rank, {"scale": scale})
