"""Panics of compiled code in this process, as where a confined one held for other texts."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..native_log import native_log
from ..reading import shortened
from .process import ConfinedError


@contextmanager
def catching_panics() -> Iterator[None]:
    """Make an error of a panic, which is no ``Exception``, and keep its own words off the terminal.

    Raises:
        ConfinedError: the block panicked.
    """
    try:
        with native_log():
            yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # pyo3 has no module from which to take it
            raise
        raise ConfinedError(shortened(error)) from None
