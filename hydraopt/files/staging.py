"""Staging directories: outputs are written here first, and cleaned up after a killed process.

A staging directory ``.NAME.TOKEN`` lies beside its output and contains

- a marker file, which identifies it and is locked while its writer runs;
- ``new``: an incomplete file or directory, removed as a whole;
- ``old``: a complete output, either the replaced one or its replacement; only the files on its
  list are removed.

A kill between creating the directory and writing the marker leaves the directory behind: an
unmarked empty directory may belong to somebody else.
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
from .listing import Listing, remove_listed
from .renames import Place, rename

NEW, OLD, MARKER = "new", "old", "hydraopt-unfinished.txt"
TOKEN_BYTES = 8

logger = logging.getLogger(__name__)
_unfinished: "set[Staging]" = set()


@dataclass(frozen=True)
class Staging:
    """A staging directory.

    Attributes:
        target: path of the output.
        parent: handle of the directory that contains both.
        name: name of the staging directory.
    """

    target: Path
    parent: int
    name: str

    @property
    def path(self) -> Path:
        """Path of the staging directory."""
        return self.target.with_name(self.name)

    @property
    def new(self) -> Path:
        """Path to write to; renamed to ``target`` when complete."""
        return self.path / NEW

    @property
    def place(self) -> Place:
        """Place of ``target``."""
        return self.parent, self.target.name

    @property
    def _mark(self) -> bytes:
        return os.fsencode(
            f"hydraopt writes {self.target.name} to {self.name} first.\n"
            "This directory is removed when the command ends, or when the next one starts.\n"
        )

    def make(self) -> int:
        """Create the directory; return the handle of its marker, locked if possible."""
        os.mkdir(self.name, dir_fd=self.parent)
        with opened(self.name, self.parent) as handle:
            return write_locked(MARKER, handle, self._mark)

    def remove(self) -> None:
        """Remove the directory; restore an output that was moved into it if its name is free."""
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
            logger.warning("%s is kept: it holds files that hydraopt did not write", self.path)

    def remove_stale(self) -> None:
        """Call :meth:`remove` if the marker is valid and its writer has died."""
        with opened(self.name, self.parent) as handle:
            marker = os.open(MARKER, os.O_RDWR | FILE, dir_fd=handle)
            try:
                if content(MARKER, handle, 1 << 16) != self._mark:
                    return
                if lock(marker, wait=False):
                    self.remove()
                else:  # without locks the writer may be alive: only restore the output
                    self._bring_back(handle)
            finally:
                os.close(marker)

    def _bring_back(self, handle: int) -> None:
        """Undo a replacement that was killed between two renames (no atomic exchange)."""
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
                    remove_listed(old, listing)
            except BundleError as error:
                logger.warning("%s", error)
        with suppress(OSError):  # not empty: it holds other files
            os.rmdir(OLD, dir_fd=handle)


@contextmanager
def staged(target: Path, parent: int) -> Iterator[Staging]:
    """Create a staging directory beside ``target`` in ``parent``, and remove it at the end.

    Staging directories of killed writers of ``target`` are removed first.
    """
    remove_stale(target, parent)
    staging = Staging(target, parent, f".{target.name}.{token_hex(TOKEN_BYTES)}")
    marker = -1
    _unfinished.add(staging)
    try:
        marker = staging.make()
        yield staging
    finally:
        staging.remove()
        _unfinished.discard(staging)
        if marker >= 0:
            os.close(marker)


def remove_stale(target: Path, parent: int) -> None:
    """Remove the staging directories of killed writers of ``target`` from ``parent``."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{{2 * TOKEN_BYTES}}}")
    for name in filter(pattern.fullmatch, os.listdir(parent)):
        with suppress(OSError):  # not a staging directory, or in use
            Staging(target, parent, name).remove_stale()


def remove_unfinished() -> None:
    """Remove all staging directories of this process.

    For signal handlers: an exception raised in a handler may hit compiled code that aborts, and
    then no ``finally`` runs.
    """
    for staging in tuple(_unfinished):
        staging.remove()


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write, and rename it to ``path`` at the end.

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


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write, and give it the name ``path`` at the end.

    Raises:
        OutputError: ``path`` exists, also if only since a moment, or cannot be written.
    """
    try:
        check_new(path)
        with opened(path.parent.resolve()) as parent, staged(path, parent) as staging:
            yield staging.new
            os.link(staging.new, path.name, dst_dir_fd=parent)  # unlike a rename, replaces nothing
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def check_new(path: Path) -> None:
    """Raise the errors of :func:`new_file` before anything is computed."""
    if path.is_symlink() or path.exists():
        raise OutputError(f"{path} exists already; delete it or choose another name")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no directory {path.parent}; make it")
