"""What long work is doing, for whoever watches: bars of steps, and names of what begins."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from tqdm import tqdm

T = TypeVar("T")
_shows: list[Callable[[str], None]] = []


def progress(items: Iterable[T], description: str, *, total: int | None = None) -> "tqdm[T]":
    """``items`` with a bar on a terminal, which is gone at the end.

    Args:
        items: what to go through.
        description: before the bar.
        total: number of items, where they do not tell it.
    """
    return tqdm(items, desc=description, total=total, disable=None, leave=False)


def steps(description: str, *, total: int | None = None, done: int = 0) -> "tqdm[NoReturn]":
    """A bar as of :func:`progress` that is updated by hand.

    Args:
        description: before the bar.
        total: number of steps.
        done: steps that were taken before.
    """
    return tqdm(desc=description, total=total, initial=done, disable=None, leave=False)


def doing(what: str) -> None:
    """Tell what begins now; nothing happens unless somebody shows it."""
    for show in _shows:
        show(what)


@contextmanager
def shown_by(show: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, ``show`` is called with what work begins."""
    _shows.append(show)
    try:
        yield
    finally:
        _shows.remove(show)
