"""Find the smallest byte budget for a quality, by bisection."""

import logging
from dataclasses import dataclass
from statistics import mean

from ..adapters import AdapterSet
from ..errors import MergeError
from ..packing import CodedAdapters, Coder
from ..progress import steps
from .evaluator import Evaluator

logger = logging.getLogger(__name__)

CLOSE = 1.04  # ratio of the bounds at which bisection stops


@dataclass(frozen=True)
class Smallest:
    """Result of :func:`smallest_budget`; ``drop`` is in points of mean exact match."""

    coded: CodedAdapters
    drop: float
    evaluations: int


def smallest_budget(
    coder: Coder, adapters: AdapterSet, evaluator: Evaluator, max_drop: float
) -> Smallest:
    """Find the smallest budget whose mean exact match is within ``max_drop`` of unmerged.

    Bisects the number of bytes on a logarithmic scale.

    Args:
        coder: codes the adapters within a byte budget.
        adapters: the adapters.
        evaluator: scores the codes.
        max_drop: largest drop of the mean exact match against the unmerged adapters, in points.

    Raises:
        MergeError: codes as large as the adapters in fp16 lose more.
    """
    wanted = 100 * mean(evaluator.unmerged(adapters).values()) - max_drop
    low, high, evaluations, best = coder.smallest, adapters.fp16_bytes, 0, None
    limit = high
    with steps("bisect") as bar:
        while best is None or high > CLOSE * low:
            coded = coder.code(limit)
            score = 100 * mean(evaluator.merged(coded).values())
            evaluations += 1
            bar.update()
            logger.info("%.2f %% of fp16: %.2f points", 100 * coded.share, score)
            if score >= wanted:
                best, high = Smallest(coded, wanted + max_drop - score, evaluations), limit
            elif best is None:
                raise MergeError(
                    f"coded into their own {limit:,} bytes, the adapters lose "
                    f"{wanted + max_drop - score:.2f} points, expected at most {max_drop}; "
                    "allow a larger drop",
                    options=["max_drop"],
                )
            else:
                low = limit
            limit = int((low * high) ** 0.5)
    return Smallest(best.coded, best.drop, evaluations)
