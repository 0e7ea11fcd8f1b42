"""How far a mean over tasks may be from that over other tasks of the kind."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
OUTSIDE = (2.5, 97.5)  # percentiles


class Interval(NamedTuple):
    """The bounds of a 95 % interval."""

    low: float
    high: float


def interval(values: Collection[float]) -> Interval:
    """Return the interval of the mean of one value per task: a percentile bootstrap over tasks.

    Tasks are drawn with replacement, always the same draws for a number of tasks. Pass differences
    to what tasks score otherwise, such as unmerged, so that how hard tasks are does not count.
    """
    found = np.fromiter(values, float)
    draws = np.random.default_rng(0).integers(len(found), size=(RESAMPLES, len(found)))
    return Interval(*np.percentile(found[draws].mean(1), OUTSIDE).tolist())
