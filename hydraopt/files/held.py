"""A directory of ours that nobody else changes meanwhile, and changes of the files in it."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import OutputError
from .handles import DIRECTORY, Entry, is_at, lock, opened, status_of, write
from .listing import LIST, Checked, Listing, check_ours
from .renames import Place, rename
from .staging import NEW, settle_stale, staged


@dataclass(frozen=True)
class Held:
    """A directory that is open, and locked if its file system has locks.

    Attributes:
        path: where it was opened.
        handle: of it.
        locked: whether other processes wait.
    """

    path: Path
    handle: int
    locked: bool

    def listing(self) -> Listing | None:
        """What we wrote into it; None if there is no list.

        Raises:
            BundleError: the list is damaged or was changed.
        """
        return Listing.read(self.handle, self.path)

    def check_ours(self, output_type: str) -> Checked:
        """As :func:`~hydraopt.files.listing.check_ours`."""
        return check_ours(self.handle, self.path, output_type)

    def may_write(self, name: str, listing: Listing) -> bool:
        """Whether a name is free, or that of a file of ours.

        Raises:
            OutputError: it is below a link, or below what is no directory.
        """
        try:
            with self._parent_of(name) as (parent, last):
                return all(listing.holds(x) for x in _entry(name, last, parent))
        except FileNotFoundError:
            return True
        except OSError as error:
            raise OutputError(
                f"{(self.path / name).parent} is a link or no directory, expected one of "
                f"{self.path} itself; put it in place"
            ) from error

    def check_free(self, name: str, listing: Listing) -> None:
        """Raise ``OutputError`` unless :meth:`may_write`."""
        if not self.may_write(name, listing):
            raise OutputError(
                f"{self.path / name} is not ours, so it is not overwritten; move it away"
            )

    def change(
        self, listing: Listing, contents: Mapping[str, bytes], gone: Sequence[str] = ()
    ) -> None:
        """Write files of ours, one after the other, and remove others.

        All is on the disk before anything changes. The list names the files of before and after
        while they change: what a kill leaves is known to the next call.

        Args:
            listing: what is ours so far.
            contents: path inside the directory -> content.
            gone: paths of files to remove, as far as they are ours.

        Raises:
            OutputError: a file that is not ours has such a name; the directory was moved; or it
                cannot be written.
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
            raise OutputError(f"{self.path} was moved or replaced meanwhile; try again")

    def _place(self, source: Place, name: str) -> None:
        with self._parent_of(name, make=True) as place:
            rename(source, place)

    def _remove(self, gone: Sequence[str], listing: Listing) -> None:
        """Remove files of ours, and the directories that they leave empty."""
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
        """Handle of the directory in which ``name`` is, and its last part; no link is followed."""
        *directories, last = PurePosixPath(name).parts
        with ExitStack() as stack:
            parent = self.handle
            for directory in directories:
                if make and status_of(directory, parent) is None:
                    os.mkdir(directory, dir_fd=parent)
                parent = stack.enter_context(opened(directory, parent))
            yield parent, last


@contextmanager
def held(path: Path) -> Iterator[Held]:
    """Let one process at a time change what is in a directory, or replace it; the others wait.

    Whoever waited has the directory that is at ``path`` then. What a killed call of
    :meth:`Held.change` left in it is removed.

    Raises:
        OutputError: the directory is missing or cannot be opened.
    """
    path = path.resolve()
    with _locked(path) as (handle, is_locked):
        settle_stale(path / LIST, handle)
        yield Held(path, handle, is_locked)


@contextmanager
def _locked(path: Path) -> Iterator[tuple[int, bool]]:
    while True:
        try:
            handle = os.open(path, DIRECTORY)
        except OSError as error:
            raise OutputError(f"cannot open {path}: {error.strerror or error}") from error
        try:
            is_locked = lock(handle)
            if is_at(handle, path):  # it was not replaced while we waited
                yield handle, is_locked
                return
        finally:
            os.close(handle)


def _entry(path: str, name: str, parent: int) -> Iterator[Entry]:
    """What has the name ``name`` in a directory, if anything."""
    if status := status_of(name, parent):
        yield Entry(path, name, parent, status)


def _during_and_after(
    listing: Listing, contents: Mapping[str, bytes], gone: Sequence[str]
) -> tuple[Listing, Listing]:
    """What is ours while files change, and what after that."""
    written = {name: hashlib.sha256(x).hexdigest() for name, x in contents.items()}
    kept = {path: x for path, x in listing.files.items() if path not in {*gone, *written}}
    return listing.with_more(written), Listing(listing.output_type, kept).with_more(written)
