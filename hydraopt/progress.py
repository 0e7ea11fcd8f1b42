"""Progress of long work: bars for loops, and stages by name."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from tqdm import tqdm

T = TypeVar("T")
_listeners: list[Callable[[str], None]] = []


def progress(items: Iterable[T], description: str, *, total: int | None = None) -> "tqdm[T]":
    """Iterate over ``items`` with a bar, shown on terminals only and cleared at the end.

    Args:
        items: the iterable.
        description: text before the bar.
        total: number of items, if ``items`` has no length.
    """
    return tqdm(items, desc=description, total=total, disable=None, leave=False)


def steps(description: str, *, total: int | None = None, done: int = 0) -> "tqdm[NoReturn]":
    """Return a bar like :func:`progress`'s that the caller updates.

    Args:
        description: text before the bar.
        total: number of steps.
        done: steps already taken.
    """
    return tqdm(desc=description, total=total, initial=done, disable=None, leave=False)


def report_stage(name: str) -> None:
    """Report the stage that begins now to every listener of :func:`showing_stages`."""
    for listener in _listeners:
        listener(name)


@contextmanager
def showing_stages(listener: Callable[[str], None]) -> Iterator[None]:
    """Call ``listener`` with the name of every stage that begins while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
