"""The compiled Viterbi search, which takes nearly all time of coding."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

BYTES = 256
RELAXED = {"nnan", "nsz"}  # without NaN and signed zero, a minimum is one vector instruction


def _compiled(function: Callable) -> Callable:
    """Compile on first use, cached on disk; once per process if no directory can be written."""
    try:
        return numba.njit(function, cache=True, fastmath=RELAXED, nogil=True)
    except RuntimeError:  # no writable cache directory
        return numba.njit(function, fastmath=RELAXED, nogil=True)


@_compiled
def _step(costs: np.ndarray, both: np.ndarray, least: np.ndarray) -> None:
    """Set ``least[c] = min_p costs[p] + both[p, c]``; four p at a time, for fewer stores."""
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
    """Return the bytes of least cost, uint8 ``[N, width]``.

    Byte c after byte p costs ``by_current[c] + by_previous[p] + both[p, c]`` at its position.

    Args:
        by_current: float32 ``[N, width, 256]``.
        by_previous: float32 ``[N, width, 256]``.
        both: float32 ``[256, 256]``.
        seam: int64 ``[N]``, the last byte, which also precedes the first; -1: any.
        threads: largest number of threads.
    """
    count, width = by_current.shape[:2]
    codes = np.empty((count, width), np.uint8)
    columns = np.ascontiguousarray(both.T)
    bounds = [count * thread // threads for thread in range(threads + 1)]

    def search(thread: int) -> None:
        part = slice(bounds[thread], bounds[thread + 1])
        _search(by_current[part], by_previous[part], both, columns, seam[part], codes[part])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(search, range(threads)))
    return codes


@_compiled
def _search(
    by_current: np.ndarray,
    by_previous: np.ndarray,
    both: np.ndarray,
    columns: np.ndarray,
    seam: np.ndarray,
    codes: np.ndarray,
) -> None:
    count, width = by_current.shape[:2]
    for n in range(count):
        costs = np.empty((width, BYTES), np.float32)  # of the path up to a position, by last byte
        cost = np.zeros(BYTES, np.float32)
        if seam[n] >= 0:
            cost[:] = np.inf
            cost[seam[n]] = 0
        for j in range(width):
            for p in range(BYTES):
                costs[j, p] = cost[p] + by_previous[n, j, p]
            _step(costs[j], both, cost)
            for c in range(BYTES):
                cost[c] += by_current[n, j, c]
        byte = seam[n] if seam[n] >= 0 else np.argmin(cost)
        for j in range(width - 1, -1, -1):
            codes[n, j] = byte
            for p in range(BYTES):
                cost[p] = costs[j, p] + columns[byte, p]
            byte = np.argmin(cost)
