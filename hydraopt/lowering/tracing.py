"""Speed up the export stack, which spends nearly all of its time on tracing graphs again.

Nothing here changes a program. A language model of 30 layers is traced a dozen times, operator by
operator, with fake tensors that have shapes and no data.
"""

import gc
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ..private import executorch, speedups, torch, torchao

FASTER = (
    torchao.operator_shapes,
    torch.size_guards,
    torch.no_guard_functions,
    torch.decomposed_if_any,
    torch.shared_sources,
    executorch.sorted_without_code,
)
_one = threading.RLock()


@contextmanager
def tracing() -> Iterator[None]:
    """Trace fast, without deprecation warnings and logs that users cannot act on.

    One thread at a time; others wait. Speed-ups apply to this thread only, but warnings, logs below
    errors and garbage collection are off in all threads.
    """
    with _one:
        disabled = logging.root.manager.disable
        with fast_tracing(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            try:
                yield
            finally:
                logging.disable(disabled)


@contextmanager
def fast_tracing() -> Iterator[None]:
    """Enable the speed-ups for the block, and disable garbage collection.

    Graphs are cyclic and stay alive until the end, so that collections would free nothing.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with speedups(FASTER):
            yield
    finally:
        if collecting:
            gc.enable()
