"""Directories by handles: what is below one is reached by names, never through links."""

import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
FILE = os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe would be waited for


class Entry(NamedTuple):
    """Something below a directory.

    Attributes:
        path: from the directory on.
        name: the last part of it.
        parent: handle of the directory that it is in.
        status: of itself; links are not followed.
    """

    path: str
    name: str
    parent: int
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether it is one itself; a link to one is none."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def signature(self) -> tuple[int, ...]:
        """What differs as soon as anybody writes to it or puts another file in its place."""
        x = self.status
        return x.st_dev, x.st_ino, x.st_size, x.st_mtime_ns, x.st_ctime_ns


@contextmanager
def opened(name: str | Path, parent: int | None = None) -> Iterator[int]:
    """A handle of the directory ``name`` in ``parent``; ``OSError`` if it is a link."""
    handle = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        yield handle
    finally:
        os.close(handle)


def lock(handle: int, *, wait: bool = True) -> bool:
    """Lock a file or directory; whether its file system has locks.

    The lock is on what is open, wherever it is moved; a lock file (filelock) is known by its path.

    Raises:
        BlockingIOError: another process has it, and ``wait`` is false.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def is_at(handle: int, path: Path) -> bool:
    """Whether ``path`` is what ``handle`` was opened as."""
    status = status_of(path)
    return status is not None and os.path.samestat(status, os.fstat(handle))


def status_of(name: str | Path, parent: int | None = None) -> os.stat_result | None:
    """Of a link itself; None if there is nothing."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def children(handle: int, below: str = "") -> Iterator[Entry]:
    """What is in a directory, whose own path is ``below``; in the order of names."""
    for name in sorted(os.listdir(handle)):
        if status := status_of(name, handle):
            yield Entry(below + name, name, handle, status)


def entries(handle: int, below: str = "") -> Iterator[Entry]:
    """Everything below a directory, a directory before what is in it."""
    for entry in children(handle, below):
        yield entry
        if entry.is_directory:
            with opened(entry.name, handle) as inner:
                yield from entries(inner, f"{entry.path}/")


def remove(handle: int, ours: Callable[[Entry], bool], below: str = "") -> None:
    """Remove the files below a directory that are ours, and our directories that are empty then."""
    for entry in children(handle, below):
        if not ours(entry):
            continue
        if not entry.is_directory:
            os.unlink(entry.name, dir_fd=handle)
            continue
        with opened(entry.name, handle) as inner:
            remove(inner, ours, f"{entry.path}/")
        with suppress(OSError):  # it holds what is not ours
            os.rmdir(entry.name, dir_fd=handle)


def write(name: str, parent: int, content: bytes) -> None:
    """Write a new file that has reached the disk at the end."""
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=parent)
    with open(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)


def write_locked(name: str, parent: int, content: bytes) -> int:
    """The handle of a new file, locked before anybody else can lock it.

    A kill leaves it whole or not at all where the system has files without names.
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
    """A file, locked and written, that gets its name last; closed if it fails."""
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
    """Content of a regular file of at most ``largest`` bytes; None if it is none, or a link."""
    handle = _file(name, parent)
    if handle is None:
        return None
    with open(handle, "rb") as file:
        found = file.read(largest + 1)
    return found if len(found) <= largest else None


def digest(name: str, parent: int) -> str | None:
    """Hex SHA-256 of a regular file; None if it is none, or a link."""
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
