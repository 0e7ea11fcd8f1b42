"""Task Arithmetic (arXiv 2212.04089): one model, ``D = scale * sum_t D_t``.

Exact in factor space: B holds the tasks' B's side by side, A their A's below each other. The deltas
are added, not A and B apart, so that there are no cross terms.
"""

from ..adapters import AdapterSet
from ..factors import Factors
from ..stored import MergedAdapters
from .assemble import merge_modules
from .registry import merging_method

NAME = "task-arithmetic"


@merging_method(
    name=NAME,
    paper="Task Arithmetic, arXiv 2212.04089",
    per_task=False,
    needs="nothing",
    storage="m n",
)
def task_arithmetic(
    adapters: AdapterSet, *, scale: float = 0.3, rank: int | None = None
) -> MergedAdapters:
    """Merge into one A and one B per module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        scale: weight of every task; the paper recommends 0.3 to 0.4 where no validation set can
            pick it.
        rank: of the result; by default ``min(out, in, sum of ranks)``, which loses nothing.

    Raises:
        MergeError: ``rank`` below 1.
    """

    def merge(module: str) -> Factors:
        stack = adapters.stack(module)
        return Factors(stack.a, scale * stack.b)

    return merge_modules(NAME, adapters, merge, rank, {"scale": scale})
