"""Marked directories in which outputs are written, and removed from where a kill left them.

One lies beside its output, as ``.NAME.TOKEN``:

- a marker, which says in our words what it is, and is locked while its writer lives;
- ``new``: a file or directory that is not whole. It goes as it is.
- ``old``: a whole output, the one that is replaced or the one that takes its place. Of it goes
  what its list says, whatever else is in it stays.

A kill between making the directory and marking it leaves it, for an empty directory of that name
may be anybody's.
"""

import logging
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from ..errors import BundleError, OutputError
from .handles import FILE, content, lock, opened, status_of, write_locked
from .listing import Listing, remove_held
from .renames import Place, rename

NEW, OLD, MARKER = "new", "old", "hydraopt-unfinished.txt"
TOKEN_BYTES = 8

logger = logging.getLogger(__name__)
_unfinished: "set[Staging]" = set()


@dataclass(frozen=True)
class Staging:
    """A marked directory.

    Attributes:
        target: what is written.
        parent: handle of the directory that both are in.
        name: its own.
    """

    target: Path
    parent: int
    name: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.target.with_name(self.name)

    @property
    def new(self) -> Path:
        """What is written first, and renamed to ``target`` when it is whole."""
        return self.path / NEW

    @property
    def place(self) -> Place:
        """Of ``target``."""
        return self.parent, self.target.name

    @property
    def _mark(self) -> bytes:
        return os.fsencode(
            f"hydraopt writes {self.target.name} in {self.name}.\n"
            "What is in here goes with it when the command ends, or when the next one begins.\n"
        )

    def make(self) -> int:
        """Make it; the handle of its marker, locked if the file system has locks."""
        os.mkdir(self.name, dir_fd=self.parent)
        with opened(self.name, self.parent) as handle:
            return write_locked(MARKER, handle, self._mark)

    def settle(self) -> None:
        """Remove it; bring back an output that was put into it, if nothing has its name."""
        with suppress(OSError), opened(self.name, self.parent) as handle:
            if content(MARKER, handle, 1 << 16) == self._mark:
                self._bring_back(handle)
                self._remove_content(handle)
                os.unlink(MARKER, dir_fd=handle)
        try:
            os.rmdir(self.name, dir_fd=self.parent)
        except FileNotFoundError:
            pass
        except OSError:
            logger.warning("%s is kept: it holds what is not ours", self.path)

    def settle_stale(self) -> None:
        """The same if its writer is dead; nothing if it is alive, or the marker is not ours."""
        with opened(self.name, self.parent) as handle:
            marker = os.open(MARKER, os.O_RDWR | FILE, dir_fd=handle)
            try:
                if content(MARKER, handle, 1 << 16) != self._mark:
                    return
                if lock(marker, wait=False):
                    self.settle()
                else:  # nobody knows whether it lives; what it wants to replace is not lost
                    self._bring_back(handle)
            finally:
                os.close(marker)

    def _bring_back(self, handle: int) -> None:
        """End what a kill between two renames left, where two names cannot be exchanged."""
        if status_of(OLD, handle) and not status_of(self.target.name, self.parent):
            rename((handle, OLD), self.place)

    def _remove_content(self, handle: int) -> None:
        new = status_of(NEW, handle)
        if new and stat.S_ISDIR(new.st_mode):
            shutil.rmtree(NEW, ignore_errors=True, dir_fd=handle)
        elif new:
            os.unlink(NEW, dir_fd=handle)
        with suppress(FileNotFoundError), opened(OLD, handle) as old:
            try:
                if listing := Listing.read(old, self.path / OLD):
                    remove_held(old, listing)
            except BundleError as error:
                logger.warning("%s", error)
        with suppress(OSError):  # it holds what is not ours
            os.rmdir(OLD, dir_fd=handle)


@contextmanager
def staged(target: Path, parent: int) -> Iterator[Staging]:
    """A marked directory beside ``target``, which is in the directory ``parent``; gone at the end.

    What killed writers of ``target`` left is removed first.
    """
    settle_stale(target, parent)
    staging = Staging(target, parent, f".{target.name}.{token_hex(TOKEN_BYTES)}")
    marker = -1
    _unfinished.add(staging)
    try:
        marker = staging.make()
        yield staging
    finally:
        staging.settle()
        _unfinished.discard(staging)
        if marker >= 0:
            os.close(marker)


def settle_stale(target: Path, parent: int) -> None:
    """Remove what killed writers of ``target`` left beside it, in the directory ``parent``."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{{2 * TOKEN_BYTES}}}")
    for name in filter(pattern.fullmatch, os.listdir(parent)):
        with suppress(OSError):  # it is none of ours, or somebody else is at it
            Staging(target, parent, name).settle_stale()


def remove_unfinished() -> None:
    """Remove all that outputs have written so far and that has not its name yet.

    For signal handlers: the exception that a handler raises may meet compiled code that aborts on
    it, and then no ``finally`` runs.
    """
    for staging in tuple(_unfinished):
        staging.settle()


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yield a file to write; rename it to ``path`` at the end, or remove it.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        with opened(path.parent.resolve()) as parent, staged(path, parent) as staging:
            yield staging.new
            with opened(staging.name, parent) as handle:
                rename((handle, NEW), staging.place)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
