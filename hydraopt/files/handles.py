"""File operations relative to open directory handles, which never follow links."""

import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
FILE = os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe would block


class Entry(NamedTuple):
    """A file, directory or link below a directory.

    Attributes:
        path: path relative to the directory.
        name: last component of ``path``.
        parent: handle of the directory that contains the entry.
        status: ``lstat`` of the entry; links are not followed.
    """

    path: str
    name: str
    parent: int
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether the entry is a directory; a link to a directory is not."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def signature(self) -> tuple[int, ...]:
        """Values that change whenever the file is written to or replaced."""
        x = self.status
        return x.st_dev, x.st_ino, x.st_size, x.st_mtime_ns, x.st_ctime_ns


@contextmanager
def opened(name: str | Path, parent: int | None = None) -> Iterator[int]:
    """Open the directory ``name`` in ``parent``; raises ``OSError`` if it is a link."""
    handle = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        yield handle
    finally:
        os.close(handle)


def lock(handle: int, *, wait: bool = True) -> bool:
    """Lock an open file or directory; return False if its file system has no locks.

    The lock belongs to the open handle and survives a rename; a lock file (filelock) is bound to
    its path.

    Raises:
        BlockingIOError: another process holds the lock, and ``wait`` is false.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def is_at(handle: int, path: Path) -> bool:
    """Return whether ``path`` still refers to the open ``handle``."""
    status = status_of(path)
    return status is not None and os.path.samestat(status, os.fstat(handle))


def status_of(name: str | Path, parent: int | None = None) -> os.stat_result | None:
    """Return the ``lstat`` of ``name`` in ``parent``; None if it does not exist."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def children(handle: int, below: str = "") -> Iterator[Entry]:
    """Yield the entries of a directory sorted by name; ``below`` is the prefix of their paths."""
    for name in sorted(os.listdir(handle)):
        if status := status_of(name, handle):
            yield Entry(below + name, name, handle, status)


def entries(handle: int, below: str = "") -> Iterator[Entry]:
    """Yield all entries below a directory, each directory before its contents."""
    for entry in children(handle, below):
        yield entry
        if entry.is_directory:
            with opened(entry.name, handle) as inner:
                yield from entries(inner, f"{entry.path}/")


def remove(handle: int, ours: Callable[[Entry], bool], below: str = "") -> None:
    """Remove the files for which ``ours`` is true, then such directories as have become empty."""
    for entry in children(handle, below):
        if not ours(entry):
            continue
        if not entry.is_directory:
            os.unlink(entry.name, dir_fd=handle)
            continue
        with opened(entry.name, handle) as inner:
            remove(inner, ours, f"{entry.path}/")
        with suppress(OSError):  # not empty: it holds other files
            os.rmdir(entry.name, dir_fd=handle)


def write(name: str, parent: int, content: bytes) -> None:
    """Create a file and sync it to disk."""
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=parent)
    with open(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)


def write_locked(name: str, parent: int, content: bytes) -> int:
    """Create a file that is locked before any other process can lock it; return its handle.

    On systems with unnamed files (``O_TMPFILE``) a killed process never leaves a partial file.
    """
    with suppress(AttributeError, OSError):
        handle = os.open(".", os.O_RDWR | os.O_TMPFILE, 0o666, dir_fd=parent)
        return _filled(handle, content, (name, parent))
    handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=parent)
    try:
        return _filled(handle, content)
    except BaseException:
        os.unlink(name, dir_fd=parent)
        raise


def _filled(handle: int, content: bytes, name: tuple[str, int] | None = None) -> int:
    """Lock and write an open file, then link its name; close it on failure."""
    try:
        lock(handle)
        os.write(handle, content)
        if name:
            os.link(f"/proc/self/fd/{handle}", name[0], dst_dir_fd=name[1])
    except BaseException:
        os.close(handle)
        raise
    return handle


def content(name: str, parent: int, largest: int) -> bytes | None:
    """Return a regular file's content; None if it is not one, or exceeds ``largest`` bytes."""
    handle = _file(name, parent)
    if handle is None:
        return None
    with open(handle, "rb") as file:
        found = file.read(largest + 1)
    return found if len(found) <= largest else None


def digest(name: str, parent: int) -> str | None:
    """Return the hex SHA-256 of a regular file; None if it is a link or not a regular file."""
    handle = _file(name, parent)
    if handle is None:
        return None
    with open(handle, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file(name: str, parent: int) -> int | None:
    try:
        handle = os.open(name, os.O_RDONLY | FILE, dir_fd=parent)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    return None
