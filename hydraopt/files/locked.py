"""Lock an output directory and change single files in it."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import OutputError
from .handles import DIRECTORY, Entry, is_at, lock, opened, status_of, write
from .listing import LIST, Checked, Listing, check_listed
from .renames import Place, rename
from .staging import NEW, remove_stale, staged


@dataclass(frozen=True)
class LockedDirectory:
    """An open directory, locked if its file system has locks.

    Attributes:
        path: path under which it was opened.
        handle: its file descriptor.
        locked: whether the lock is held.
    """

    path: Path
    handle: int
    locked: bool

    def listing(self) -> Listing | None:
        """Read the directory's file list; None if there is none.

        Raises:
            BundleError: the list is damaged or was modified.
        """
        return Listing.read(self.handle, self.path)

    def check_listed(self, output_type: str) -> Checked:
        """Call :func:`~hydraopt.files.listing.check_listed` on this directory."""
        return check_listed(self.handle, self.path, output_type)

    def may_write(self, name: str, listing: Listing) -> bool:
        """Return whether ``name`` is free or on the list and unmodified.

        Raises:
            OutputError: a parent of ``name`` is a link or not a directory.
        """
        try:
            with self._parent_of(name) as (parent, last):
                return all(listing.holds(x) for x in _entry(name, last, parent))
        except FileNotFoundError:
            return True
        except OSError as error:
            raise OutputError(
                f"{(self.path / name).parent} is a link or not a directory, expected a directory "
                f"inside {self.path}; restore it"
            ) from error

    def check_free(self, name: str, listing: Listing) -> None:
        """Raise ``OutputError`` unless :meth:`may_write`."""
        if not self.may_write(name, listing):
            raise OutputError(
                f"hydraopt did not write {self.path / name}, so it is not overwritten; move it away"
            )

    def change(
        self, listing: Listing, contents: Mapping[str, bytes], gone: Sequence[str] = ()
    ) -> None:
        """Write some files and remove others.

        All contents are on disk before the first file changes. Meanwhile the list names both the
        old and the new files, so that the next call can clean up after a killed process.

        Args:
            listing: the current file list.
            contents: path inside the directory -> content.
            gone: paths of files to remove, if they are on the list and unmodified.

        Raises:
            OutputError: a name is taken by a file that hydraopt did not write, the directory was
                moved, or it cannot be written.
        """
        for name in contents:
            self.check_free(name, listing)
        lists = [x.document for x in _during_and_after(listing, contents, gone)]
        try:
            with (
                staged(self.path / LIST, self.handle) as staging,
                opened(staging.name, self.handle) as handle,
            ):
                os.mkdir(NEW, dir_fd=handle)
                with opened(NEW, handle) as new:
                    for number, content in enumerate([*lists, *contents.values()]):
                        write(str(number), new, content)
                    self._check_place()
                    rename((new, "0"), (self.handle, LIST))
                    for number, name in enumerate(contents, len(lists)):
                        self._place((new, str(number)), name)
                    self._remove(gone, listing)
                    rename((new, "1"), (self.handle, LIST))
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from error

    def _check_place(self) -> None:
        if not is_at(self.handle, self.path):
            raise OutputError(f"{self.path} was moved or replaced during the change; try again")

    def _place(self, source: Place, name: str) -> None:
        with self._parent_of(name, make=True) as place:
            rename(source, place)

    def _remove(self, gone: Sequence[str], listing: Listing) -> None:
        """Remove listed files, and the directories that become empty."""
        for name in gone:
            with suppress(OSError):
                with self._parent_of(name) as (parent, last):
                    if not any(listing.holds(x) for x in _entry(name, last, parent)):
                        continue
                    os.unlink(last, dir_fd=parent)
                for directory in list(PurePosixPath(name).parents)[:-1]:
                    with self._parent_of(str(directory)) as (parent, last):
                        os.rmdir(last, dir_fd=parent)

    @contextmanager
    def _parent_of(self, name: str, *, make: bool = False) -> Iterator[Place]:
        """Yield the handle of the directory of ``name`` and its last component; follow no link."""
        *directories, last = PurePosixPath(name).parts
        with ExitStack() as stack:
            parent = self.handle
            for directory in directories:
                if make and status_of(directory, parent) is None:
                    os.mkdir(directory, dir_fd=parent)
                parent = stack.enter_context(opened(directory, parent))
            yield parent, last


@contextmanager
def locked_directory(path: Path) -> Iterator[LockedDirectory]:
    """Open and lock a directory; other processes that want to change or replace it wait.

    A process that waited gets the directory that is at ``path`` afterwards. What a killed call of
    :meth:`LockedDirectory.change` left in it is removed.

    Raises:
        OutputError: the directory is missing or cannot be opened.
    """
    path = path.resolve()
    with _locked(path) as (handle, is_locked):
        remove_stale(path / LIST, handle)
        yield LockedDirectory(path, handle, is_locked)


@contextmanager
def _locked(path: Path) -> Iterator[tuple[int, bool]]:
    while True:
        try:
            handle = os.open(path, DIRECTORY)
        except OSError as error:
            raise OutputError(f"cannot open {path}: {error.strerror or error}") from error
        try:
            is_locked = lock(handle)
            if is_at(handle, path):  # not replaced while waiting
                yield handle, is_locked
                return
        finally:
            os.close(handle)


def _entry(path: str, name: str, parent: int) -> Iterator[Entry]:
    """Yield the entry ``name`` of a directory, if it exists."""
    if status := status_of(name, parent):
        yield Entry(path, name, parent, status)


def _during_and_after(
    listing: Listing, contents: Mapping[str, bytes], gone: Sequence[str]
) -> tuple[Listing, Listing]:
    """Return the file lists for the time of the change and for the time after it."""
    written = {name: hashlib.sha256(x).hexdigest() for name, x in contents.items()}
    kept = {path: x for path, x in listing.files.items() if path not in {*gone, *written}}
    return listing.with_more(written), Listing(listing.output_type, kept).with_more(written)
