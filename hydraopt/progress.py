"""What long work is doing, for whoever watches: bars of steps, and names of what begins."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
_shows: list[Callable[[str], None]] = []


def progress(
    items: Iterable[T] | None, description: str, *, total: int | None = None, done: int = 0
) -> "tqdm[T]":
    """``items`` with a bar on a terminal, which is gone at the end.

    Args:
        items: what to go through; None for a bar that is updated by hand.
        description: before the bar.
        total: number of steps, where ``items`` do not tell it.
        done: steps that were taken before.
    """
    return tqdm(items, desc=description, total=total, initial=done, disable=None, leave=False)


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
