"""BYOM-LoRA (arXiv 2310.01886): every task's delta by itself, cut to rank q by SVD.

``D_t ~ U_q S_q V_qᵀ``, the best approximation of that rank, is added to the base model: unlike the
paper's BYOM-FFT, for models that are tuned whole, BYOM-LoRA has no merged model below the tasks'
own parts, and nothing is shared. The SVD is made in factor space [derived], which is exact. The
paper's q is well below the adapters' rank r; half of r, the default here, is ours.
"""

from collections.abc import Iterator

from ..adapters import AdapterSet
from ..factors import Factors
from ..stored import MergedAdapters
from .assemble import merge_modules
from .registry import merging_method

NAME = "byom"


@merging_method(
    name=NAME,
    paper="BYOM-LoRA, arXiv 2310.01886",
    per_task=True,
    needs="nothing",
    storage="T R (m + n)",
)
def byom(adapters: AdapterSet, *, rank: int | None = None) -> MergedAdapters:
    """Cut to an A and a B of rank q per task and module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        rank: q; half of the largest rank of the adapters by default.

    Raises:
        MergeError: ``rank`` below 1.
    """

    def parts(module: str) -> Iterator[Factors]:
        for adapter in adapters.adapters:
            own = adapter.factors.get(module, Factors.zero(adapters.shapes[module]))
            yield Factors(own.a.double(), own.b.double())

    half = max(1, adapters.max_rank // 2)
    return merge_modules(NAME, adapters, parts, half if rank is None else rank, {})
