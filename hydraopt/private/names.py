"""Look up private names of other libraries, and handle those that are gone."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pkgutil import resolve_name
from typing import Any

from ..errors import HydraOptError

TESTED = {"torch": "2.13", "executorch": "1.5.1", "torchao": "0.18", "transformers": "5.24"}

logger = logging.getLogger(__name__)
_warned: set[str] = set()  # messages of speed-ups that were skipped


class GoneError(HydraOptError):
    """The installed version of a library lacks a private name."""


@dataclass(frozen=True)
class Name:
    """A private name of another library.

    Attributes:
        path: module and, after a colon, the dotted path inside it; without one the module itself.
        use: its purpose, to complete "which ...".
    """

    path: str
    use: str

    @property
    def library(self) -> str:
        """Name of the distribution."""
        return str(self).partition(".")[0]

    def get(self) -> Any:
        """Import the object.

        Raises:
            GoneError: the library has no such name.
        """
        try:
            return resolve_name(self.path)
        except (ImportError, AttributeError):
            raise self.gone() from None

    def __str__(self) -> str:
        return self.path.replace(":", ".")

    def gone(self) -> GoneError:
        """Return the error for a name that is gone."""
        try:
            installed = version(self.library)
        except PackageNotFoundError:
            installed = "(not installed)"
        return GoneError(
            f"{self.library} {installed} has no {self}, which {self.use}; "
            f"install {self.library} {TESTED[self.library]}, with which hydraopt was tested"
        )


Speedup = Callable[[], AbstractContextManager]


@contextmanager
def speedups(entering: Iterable[Speedup]) -> Iterator[None]:
    """Enter context managers for the block, and skip those whose names are gone.

    Args:
        entering: context managers that raise :class:`GoneError` before they change anything.
    """
    with ExitStack() as stack:
        for speedup in entering:
            try:
                stack.enter_context(speedup())
            except GoneError as error:
                slower(error)
        yield


def slower(error: GoneError) -> None:
    """Warn once that a speed-up is skipped, even while logging is disabled."""
    text = str(error)
    if text in _warned:
        return
    _warned.add(text)
    silenced = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    try:
        logger.warning("an export takes longer: %s", text)
    finally:
        logging.disable(silenced)
