"""Iso-C (arXiv 2502.04959): one model, the sum of the deltas with equalised singular values.

``sum_t D_t = U S Vᵀ``; ``D = scale * mean(S) * U Vᵀ``.

The paper merges full-rank matrices; otherwise its code completes U and V with arbitrary vectors. A
sum of low-rank deltas is rank-deficient, so the mean and ``U Vᵀ`` cover only its nonzero singular
values [derived]. A smaller ``rank`` keeps the largest of them.
"""

from ..adapters import AdapterSet
from ..factors import Factors, Svd, svd
from ..stored import MergedAdapters
from .assemble import merge_modules
from .registry import merging_method

NAME = "iso-c"


@merging_method(name=NAME, paper="Iso-C, arXiv 2502.04959", storage="m n")
def iso_c(adapters: AdapterSet, *, scale: float = 1.0, rank: int | None = None) -> MergedAdapters:
    """Merge into one A and one B per module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        scale: weight of the merged delta.
        rank: rank of the result; defaults to ``min(out, in, sum of ranks)``, which is lossless.

    Raises:
        MergeError: ``rank`` is below 1.
    """

    def merge(adapters: AdapterSet, module: str) -> Svd:
        stack = adapters.stack(module)
        u, s, vh = svd(Factors(stack.a, stack.b))
        return Svd(u, scale * s.mean().expand(len(s)), vh)

    return merge_modules(NAME, adapters, merge, rank, {"scale": scale})
