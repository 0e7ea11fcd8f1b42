"""Making the export stack fast: nearly all of its time goes into tracing the same graph again.

Nothing here changes a program. A language model of 30 layers is traced a dozen times, each time
operator by operator with fake tensors, which know shapes and have no data.
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
    """Trace fast, and without the deprecation warnings and logs that no user can act on.

    One thread does so at a time; another one waits. What is faster concerns this thread alone, but
    warnings and logs below errors, and the collection of garbage, rest in all of them.
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
    """While the block runs, nothing is traced or written that nobody reads.

    A graph is all cycles, and nothing of it is free before it is done: no garbage is collected.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with speedups(FASTER):
            yield
    finally:
        if collecting:
            gc.enable()
