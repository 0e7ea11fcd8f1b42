"""Independent units of work on all cores, or on a cluster."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

import torch
from joblib import Parallel, cpu_count, delayed
from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_limits

from .errors import UsageError
from .progress import progress

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Workers:
    """Where units run.

    Attributes:
        jobs: units at a time; None: one for each core.
        remote: units run in other processes, by joblib's current backend, and are sent there.
    """

    jobs: int | None = None
    remote: bool = False


ALL_CORES = Workers()
_workers = ContextVar("workers", default=ALL_CORES)


@contextmanager
def jobs(count: int | None) -> Iterator[None]:
    """Run ``count`` units at a time in the block, by default one for each core.

    Raises:
        UsageError: ``count`` is below 1.
    """
    if count is not None and count < 1:
        raise UsageError(
            f"jobs is {count}, expected at least 1, the units of work at a time", options=["jobs"]
        )
    with running_on(Workers(count)):
        yield


@contextmanager
def running_on(workers: Workers) -> Iterator[None]:
    """Run units in the block on ``workers``."""
    token = _workers.set(workers)
    try:
        yield
    finally:
        _workers.reset(token)


def each(function: Callable[[T], R], items: Collection[T], description: str) -> list[R]:
    """Call a function with every item, and return the results in the items' order.

    Units run in threads, one for each core (see :func:`jobs`), or where a cluster's backend sends
    them, and the linear algebra inside them on one thread: for small matrices it is no faster on
    several, and beside other processes threads that wait for each other take many times as long.
    Results do not depend on the number of cores.

    Args:
        function: a unit of work that mostly runs outside of Python, and changes nothing outside of
            itself.
        items: what to call it with.
        description: text before the progress bar.
    """
    workers = _workers.get()
    if workers.remote:
        return _sent(function, items, description)
    with _one_thread():
        calls = (delayed(function)(item) for item in items)
        parallel = Parallel(workers.jobs or cpu_count(), "threading", return_as="generator")
        return list(progress(parallel(calls), description, total=len(items)))


def _sent(function: Callable[[T], R], items: Collection[T], description: str) -> list[R]:
    """Run units by joblib's current backend."""
    parallel = Parallel(pre_dispatch="all")
    if get_active_backend()[0].supports_return_generator:  # Ray's does not
        parallel = Parallel(pre_dispatch="all", return_as="generator")
    found = parallel(delayed(_alone)(function, item) for item in items)
    return list(progress(found, description, total=len(items)))


def _alone(function: Callable[[T], R], item: T) -> R:
    with _one_thread():
        return function(item)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):  # NumPy's and SciPy's
            yield
    finally:
        torch.set_num_threads(before)
