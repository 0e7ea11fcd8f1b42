"""Task Arithmetic (arXiv 2212.04089): one model, ``D = scale * sum_t D_t``.

Exact in factor space: the tasks' B's are concatenated along columns and their A's along rows.
Summing deltas rather than A and B separately avoids cross terms.
"""

from ..adapters import AdapterSet
from ..factors import Factors
from ..stored import MergedAdapters
from .assemble import merge_modules
from .registry import merging_method

NAME = "task-arithmetic"


@merging_method(name=NAME, paper="Task Arithmetic, arXiv 2212.04089", storage="m n")
def task_arithmetic(
    adapters: AdapterSet, *, scale: float = 0.3, rank: int | None = None
) -> MergedAdapters:
    """Merge into one A and one B per module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        scale: weight of every task; the paper recommends 0.3 to 0.4 without a validation set.
        rank: rank of the result; defaults to ``min(out, in, sum of ranks)``, which is lossless.

    Raises:
        MergeError: ``rank`` is below 1.
    """

    def merge(adapters: AdapterSet, module: str) -> Factors:
        stack = adapters.stack(module)
        return Factors(stack.a, scale * stack.b)

    return merge_modules(NAME, adapters, merge, rank, {"scale": scale})
