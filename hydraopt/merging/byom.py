"""BYOM-LoRA (arXiv 2310.01886): each task's delta, truncated to rank q by SVD.

``D_t ~ U_q S_q V_qᵀ``, the best approximation of that rank, is added to the base model. Unlike the
paper's BYOM-FFT for fully fine-tuned models, BYOM-LoRA has no merged model underneath, so tasks
share nothing. The SVD is computed in factor space, which is exact [derived]. The paper's q is well
below the adapters' rank r; the default of r / 2 is our choice.
"""

from collections.abc import Iterator

from ..adapters import AdapterSet
from ..factors import Factors
from ..stored import MergedAdapters
from .assemble import merge_modules
from .registry import merging_method

NAME = "byom"


@merging_method(
    name=NAME, paper="BYOM-LoRA, arXiv 2310.01886", per_task=True, storage="T R (m + n)"
)
def byom(adapters: AdapterSet, *, rank: int | None = None) -> MergedAdapters:
    """Truncate each task's delta to rank q.

    Args:
        adapters: T adapters, of any ranks and target modules.
        rank: q; defaults to half of the adapters' largest rank.

    Raises:
        MergeError: ``rank`` is below 1.
    """

    def parts(adapters: AdapterSet, module: str) -> Iterator[Factors]:
        for adapter in adapters.adapters:
            own = adapter.update(module, adapters.shapes[module])
            yield Factors(own.a.double(), own.b.double())

    half = max(1, adapters.max_rank // 2)
    return merge_modules(NAME, adapters, parts, half if rank is None else rank, {})
