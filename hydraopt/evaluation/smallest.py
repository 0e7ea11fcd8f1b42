"""The smallest byte budget that holds a quality, by bisection."""

import logging
from dataclasses import dataclass
from statistics import mean

from ..adapters import AdapterSet
from ..errors import MergeError
from ..packing import CodedAdapters, Coder
from ..progress import steps
from .evaluator import Evaluator

logger = logging.getLogger(__name__)

CLOSE = 1.04  # stop when the bounds are this near to each other


@dataclass(frozen=True)
class Smallest:
    """What :func:`smallest_budget` found; the drop is in points of mean exact match."""

    coded: CodedAdapters
    drop: float
    evaluations: int


def smallest_budget(
    coder: Coder, adapters: AdapterSet, evaluator: Evaluator, max_drop: float
) -> Smallest:
    """Bisect the bytes, on a logarithmic scale, for a mean exact match within ``max_drop``.

    Args:
        coder: codes the adapters within a number of bytes.
        adapters: the adapters.
        evaluator: scores them.
        max_drop: points of mean exact match that may be lost against the unmerged adapters.

    Raises:
        MergeError: even the adapters' fp16 bytes lose more.
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
                    f"coded into the adapters' own {limit:,} bytes they lose "
                    f"{wanted + max_drop - score:.2f} points, expected at most {max_drop}; "
                    "allow a larger drop",
                    options=["max_drop"],
                )
            else:
                low = limit
            limit = int((low * high) ** 0.5)
    return Smallest(best.coded, best.drop, evaluations)
