"""What long work without countable steps is doing, for whoever shows it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_shows: list[Callable[[str], None]] = []


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
