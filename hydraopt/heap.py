"""The C library's heap, which holds most tensors and keeps what was freed for later ones."""

import ctypes
import sys


def give_back() -> None:
    """Give freed memory back to the system; where the C library is not glibc, do nothing.

    Weights are loaded by several threads, and what these have allocated is not used again by others
    when it is freed.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
