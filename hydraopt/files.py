"""Writing outputs whole or not at all, and counting what is stored."""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from .errors import OutputError
from .reading import UnreadableError, file_json
from .renames import exchange, recover, rename_new

if TYPE_CHECKING:
    import torch

_unfinished: set[Path] = set()  # temporary files and directories of outputs being written


@dataclass(frozen=True)
class Output:
    """A kind of directory that we write, by which ours are told from others before they go.

    Attributes:
        marker: a JSON file that every one holds.
        field: that the marker has.
        files: patterns of all that it may hold.
    """

    marker: str
    field: str
    files: tuple[str, ...]

    def check_ours(self, path: Path) -> None:
        """Raise ``OutputError`` if a directory is none of this kind, or holds anything else."""
        names = [x.relative_to(path).as_posix() for x in path.rglob("*") if not x.is_dir()]
        if not names:
            return
        try:
            fields = file_json(path / self.marker)
            ours = isinstance(fields, dict) and self.field in fields
        except UnreadableError:
            ours = False
        if not ours:
            raise OutputError(
                f"output {path} holds other files and no {self.marker} of ours, so it is not "
                "overwritten; choose another output"
            )
        for name in names:
            if not any(fnmatch(name, pattern) for pattern in (self.marker, *self.files)):
                raise OutputError(
                    f"output {path} holds {name}, which is not ours, so it is not overwritten; "
                    "choose another output"
                )


@contextmanager
def output_directory(path: str | Path, kind: Output, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` to write into; rename it to ``path`` at the end.

    Whatever ends the block early (an error, a full disk, an interrupt) leaves ``path`` as it was
    and removes the temporary directory.

    Args:
        path: directory to write.
        kind: of directory; only one of this kind, or an empty one, is ever replaced.
        overwrite: replace an existing ``path``.

    Raises:
        OutputError: ``path`` exists and may not be replaced, or it cannot be written.
    """
    path = Path(path).resolve()
    check_output(path, kind, overwrite=overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _staging(path, Path.mkdir) as staging:
            yield staging
            _publish(staging, path, kind, overwrite=overwrite)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _publish(staging: Path, path: Path, kind: Output, *, overwrite: bool) -> None:
    """Give ``staging`` its name; what had it is in ``staging`` then."""
    try:
        return rename_new(staging, path)
    except FileExistsError:
        check_output(path, kind, overwrite=overwrite)  # it may have come while we worked
    exchange(staging, path)


def remove_unfinished() -> None:
    """Remove all that outputs have written so far and that has not its name yet.

    For signal handlers: the exception that a handler raises may meet compiled code that aborts on
    it, and then no ``finally`` runs.
    """
    for staging in tuple(_unfinished):
        _remove(staging)


@contextmanager
def _staging(path: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """A new sibling of ``path``, locked while its writer lives; removed if it is there at the end.

    What killed writers left is removed first.
    """
    _remove_stale(path)
    staging = path.with_name(f".{path.name}.{token_hex(4)}")
    _unfinished.add(staging)
    descriptor = -1
    try:
        make(staging)
        descriptor = os.open(staging, os.O_RDONLY)
        with suppress(OSError):  # a file system without locks: nothing is taken for stale there
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not staging.exists():  # taken for stale before it was locked
            make(staging)
        yield staging
    finally:
        if descriptor >= 0:
            os.close(descriptor)
        _remove(staging)
        _unfinished.discard(staging)


def _remove_stale(path: Path) -> None:
    """Remove unfinished siblings that nobody holds: a kill leaves them behind."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}")
    for staging in path.parent.iterdir():
        if not name.fullmatch(staging.name):
            continue
        with suppress(OSError):
            descriptor = os.open(staging, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(staging)
            finally:
                os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def check_output(path: Path, kind: Output, *, overwrite: bool) -> None:
    """Raise what :func:`output_directory` would before anything is computed."""
    path = path.resolve()
    if path == Path.cwd() or path in Path.cwd().parents:
        raise OutputError(f"output {path} holds the current directory; choose another output")
    recover(path)
    if not path.exists():
        return
    if not path.is_dir():
        raise OutputError(f"output {path} is a file, expected a directory; choose another output")
    if not overwrite:
        raise OutputError(f"output {path} exists already; choose another or pass --overwrite")
    kind.check_ours(path)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON that ends in a newline and reached the disk."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that has reached the disk at the end."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_tensors(
    path: Path, tensors: Mapping[str, "torch.Tensor"], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file; a full disk is an ``OSError`` as for any other file."""
    from safetensors import SafetensorError  # seconds, with torch
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path, metadata=dict(metadata) if metadata else None)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def safetensors_bytes(tensors: Mapping[str, "torch.Tensor"]) -> int:
    """Size of the safetensors file that ``tensors`` make, header included, without writing it."""
    header, offset = {}, 0
    order = list(_SAFETENSORS_DTYPES)
    for name, tensor in sorted(tensors.items(), key=lambda x: (order.index(str(x[1].dtype)), x[0])):
        end = offset + tensor.nbytes
        header[name] = {
            "dtype": _SAFETENSORS_DTYPES[str(tensor.dtype)],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + length + -length % 8 + offset


# in the order in which safetensors lays them out
_SAFETENSORS_DTYPES = {
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.int16": "I16",
    "torch.uint8": "U8",
}


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Let one process at a time change what is in a directory; the others wait.

    Raises:
        OutputError: the directory is missing or cannot be opened.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise OutputError(f"cannot open {directory}: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling to write; rename it to ``path`` at the end, or remove it.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        with _staging(path, _make_file) as staging:
            yield staging
            staging.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _make_file(path: Path) -> None:
    path.touch(exist_ok=False)
