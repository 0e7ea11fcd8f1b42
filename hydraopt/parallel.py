"""Independent units of work on all cores."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from joblib import Parallel, cpu_count, delayed

from .progress import progress

T = TypeVar("T")
R = TypeVar("R")


def each(function: Callable[[T], R], items: Collection[T], description: str) -> list[R]:
    """Call a function with every item, and return the results in the items' order.

    Units run in threads, one for each core, and the linear algebra inside them on one thread: for
    small matrices it is no faster on several, and beside other processes threads that wait for each
    other take many times as long. Results do not depend on the number of cores.

    Args:
        function: a unit of work that mostly runs outside of Python.
        items: what to call it with.
        description: text before the progress bar.
    """
    calls = (delayed(function)(item) for item in items)
    with _one_thread():
        found = Parallel(cpu_count(), prefer="threads", return_as="generator")(calls)
        return list(progress(found, description, total=len(items)))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
