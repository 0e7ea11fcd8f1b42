"""Keep the finished units of long work beside its output until that is written.

``.NAME.unfinished`` lies beside output NAME and contains a locked file, and one file for each
finished unit. A unit's file name has a digest of all that the unit depends on, so that a command
with other inputs computes it anew.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ..errors import OutputError
from ..reading import UnreadableError, file_tensors, metadata
from .content import write_tensors
from .staging import replaced_file

if TYPE_CHECKING:
    import torch

    Tensors = Mapping[str, torch.Tensor]

LOCK, DIGITS, CONTENT = "lock", 32, "sha256"
UNIT = re.compile(rf".+\.[0-9a-f]{{{DIGITS}}}\.safetensors")


@dataclass(frozen=True)
class Unfinished:
    """Finished units of work, in a directory that no other process uses.

    Attributes:
        directory: the directory.
        common: digest of what all units depend on.
    """

    directory: Path
    common: bytes = b""

    def of(self, inputs: Iterable[bytes | memoryview]) -> "Unfinished":
        """Return the same units, which depend on ``inputs`` too."""
        return Unfinished(self.directory, _digest(chain([self.common], inputs)).digest())

    def unit(
        self, name: str, inputs: Iterable[bytes | memoryview], compute: Callable[[], "Tensors"]
    ) -> "Tensors":
        """Return what ``compute`` returns, from an earlier run if it is there and complete.

        Args:
            name: a file name.
            inputs: all that the result depends on.
            compute: returns tensors by name.

        Raises:
            OutputError: the result cannot be written.
        """
        digest = _digest(chain([self.common], inputs)).hexdigest()
        path = self.directory / f"{name}.{digest[:DIGITS]}.safetensors"
        if (kept := _read(path)) is not None:
            return kept
        found = compute()
        with replaced_file(path) as staging:
            write_tensors(staging, found, {CONTENT: _content(found)})
        return found

    @property
    def units(self) -> list[Path]:
        """Files of finished units."""
        return [path for path in self.directory.iterdir() if UNIT.fullmatch(path.name)]


@contextmanager
def unfinished(output: Path) -> Iterator[Unfinished]:
    """Keep finished units beside ``output`` if the block ends early, and remove them at its end.

    Raises:
        OutputError: another process has the same output in work, or the directory cannot be made.
    """
    output = output.resolve()
    directory = output.with_name(f".{output.name}.unfinished")
    lock = FileLock(directory / LOCK)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputError(
            f"another command has output {output} in work; wait for it, or choose another output"
        ) from None
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror or error}") from error
    found = Unfinished(directory)
    try:
        yield found
        for path in found.units:
            path.unlink()
    finally:
        if not found.units:
            (directory / LOCK).unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # it holds finished units, or files that are not ours
            directory.rmdir()


def _read(path: Path) -> "Tensors | None":
    """Read a unit; None if it is missing or damaged."""
    try:
        found = file_tensors(path)
        return found if metadata(path).get(CONTENT) == _content(found) else None
    except UnreadableError:
        return None


def _digest(parts: "Iterable[bytes | memoryview]") -> "hashlib._Hash":
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest


def _content(tensors: "Tensors") -> str:
    named = sorted(tensors.items())
    heads = (f"{name} {tensor.dtype} {list(tensor.shape)} ".encode() for name, tensor in named)
    values = (tensor.contiguous().numpy().tobytes() for _, tensor in named)
    return _digest(chain(heads, values)).hexdigest()
