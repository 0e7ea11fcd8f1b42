"""Names of other libraries that are no public API, and what happens when one is gone."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ..errors import HydraOptError

TESTED = {"torch": "2.13", "executorch": "1.5.1", "torchao": "0.18", "transformers": "5.24"}

logger = logging.getLogger(__name__)
_told: set[str] = set()  # speed-ups that were warned of


class GoneError(HydraOptError):
    """A name that another version of a library does not have."""


@dataclass(frozen=True)
class Name:
    """A name of another library.

    Attributes:
        library: its distribution.
        module: where the name is.
        attribute: the name, with dots for those inside of it; empty for the module itself.
        use: what it is for, to complete "which ...".
    """

    library: str
    module: str
    attribute: str
    use: str

    def get(self) -> Any:
        """What it names.

        Raises:
            GoneError: the library has no such name.
        """
        try:
            found = import_module(self.module)
            for part in filter(None, self.attribute.split(".")):
                found = getattr(found, part)
        except (ImportError, AttributeError):
            raise self.gone() from None
        return found

    def __str__(self) -> str:
        return ".".join(filter(None, (self.module, self.attribute)))

    def gone(self) -> GoneError:
        """The error that says so."""
        try:
            installed = version(self.library)
        except PackageNotFoundError:
            installed = "(not installed)"
        return GoneError(
            f"{self.library} {installed} has no {self}, which {self.use}; "
            f"install {self.library} {TESTED[self.library]}, with which hydraopt was tested"
        )


Speedup = Callable[[], AbstractContextManager[None]]


@contextmanager
def speedups(entering: Iterable[Speedup]) -> Iterator[None]:
    """Enter context managers while the block runs; without those whose names are gone.

    Args:
        entering: each of them raises :class:`GoneError` before it changes anything.
    """
    with ExitStack() as stack:
        for speedup in entering:
            try:
                stack.enter_context(speedup())
            except GoneError as error:
                slower(error)
        yield


def slower(error: GoneError) -> None:
    """Warn, once, that a speed-up is left out; also while warnings are silenced."""
    text = str(error)
    if text in _told:
        return
    _told.add(text)
    silenced = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    try:
        logger.warning("an export takes longer: %s", text)
    finally:
        logging.disable(silenced)
