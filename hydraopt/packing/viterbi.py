"""The search over a trellis of bytes, compiled: nearly all time of coding is spent here."""

from collections.abc import Callable
from functools import partial

import numba
import numpy as np

BYTES = 256
RELAXED = {"nnan", "nsz"}  # no NaN, no sign of zero: then a minimum is one vector instruction


def _compiled(function: Callable, **options: bool) -> Callable:
    """Compile on first use, once per machine; once per process if no directory can be written."""
    try:
        return numba.njit(function, cache=True, fastmath=RELAXED, **options)
    except RuntimeError:  # numba has nowhere to keep what it compiles
        return numba.njit(function, fastmath=RELAXED, **options)


@_compiled
def _step(costs: np.ndarray, both: np.ndarray, least: np.ndarray) -> None:
    """``least[c] = min_p costs[p] + both[p, c]``; of four p at a time, to store less often."""
    least[:] = np.inf
    for p in range(0, BYTES, 4):
        first, second, third, fourth = costs[p : p + 4]
        for c in range(BYTES):
            pair = min(first + both[p, c], second + both[p + 1, c])
            other = min(third + both[p + 2, c], fourth + both[p + 3, c])
            least[c] = min(least[c], pair, other)


def best_bytes(
    by_current: np.ndarray,
    by_previous: np.ndarray,
    both: np.ndarray,
    seam: np.ndarray,
    threads: int,
) -> np.ndarray:
    """The bytes of least cost, uint8 ``[N, width]``.

    A byte c after a byte p costs ``by_current[c] + by_previous[p] + both[p, c]`` at its place.

    Args:
        by_current: float32 ``[N, width, 256]``.
        by_previous: float32 ``[N, width, 256]``.
        both: float32 ``[256, 256]``.
        seam: int64 ``[N]``, the byte before the first, which is also the last; -1: any.
        threads: at most so many.
    """
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    return _search(by_current, by_previous, both, seam)


@partial(_compiled, parallel=True)
def _search(
    by_current: np.ndarray, by_previous: np.ndarray, both: np.ndarray, seam: np.ndarray
) -> np.ndarray:
    count, width = by_current.shape[:2]
    codes = np.empty((count, width), np.uint8)
    turned = np.ascontiguousarray(both.T)
    for n in numba.prange(count):
        costs = np.empty((width, BYTES), np.float32)  # of all before a place, by the byte before it
        cost = np.zeros(BYTES, np.float32)
        if seam[n] >= 0:
            cost[:] = np.inf
            cost[seam[n]] = 0
        for j in range(width):
            costs[j] = cost + by_previous[n, j]
            _step(costs[j], both, cost)
            cost += by_current[n, j]
        byte = seam[n] if seam[n] >= 0 else np.argmin(cost)
        for j in range(width - 1, -1, -1):
            codes[n, j] = byte
            byte = np.argmin(costs[j] + turned[byte])
    return codes
