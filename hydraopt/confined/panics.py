"""Catch Rust panics in this process, for texts that the confined trial did not cover."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..native_log import native_log
from ..reading import shortened
from .process import ConfinedError


@contextmanager
def catching_panics() -> Iterator[None]:
    """Turn a panic, which is not an ``Exception``, into an error; drop its log from the terminal.

    Raises:
        ConfinedError: the block panicked.
    """
    try:
        with native_log():
            yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # pyo3 does not export the class
            raise
        raise ConfinedError(shortened(error)) from None
