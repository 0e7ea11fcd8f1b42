"""An adapter's factors as they lie in its file, read module by module."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import AdapterError
from ..factors import Factors, Places, Size, placed
from ..reading import UnreadableError, some_tensors


@dataclass(frozen=True)
class Part:
    """One module in a file: the names of its tensors, the scale of B, and its size."""

    a: str
    b: str
    scale: float
    size: Size

    def factors(self, a: torch.Tensor, b: torch.Tensor) -> Factors:
        """Return the factors in float32, from the tensors in the file."""
        return Factors(a.float(), b.float() * self.scale)


@dataclass(frozen=True)
class Version:
    """A file as it was when its content was checked."""

    path: Path
    inode: int
    bytes: int
    modified: int  # nanoseconds

    @classmethod
    def of(cls, path: Path) -> "Version":
        """Describe the file that is there now; raises ``OSError`` if there is none."""
        status = os.stat(path)
        return cls(path.absolute(), status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class FileFactors(Mapping[str, Factors]):
    """Factors by module, which are read each time that they are asked for, with B scaled.

    Many adapters then take no more memory than the modules in work, and other processes need only
    the files.

    Attributes:
        name: name of the adapter, for messages.
        version: its file.
        parts: module -> where its factors are.
    """

    name: str
    version: Version
    parts: Mapping[str, Part]

    def __getitem__(self, module: str) -> Factors:
        """Read one module's factors, float32.

        Raises:
            AdapterError: the file has changed since it was checked.
        """
        part = self.parts[module]
        try:
            tensors = some_tensors(self.version.path, [part.a, part.b])
            same = Version.of(self.version.path) == self.version
        except (UnreadableError, OSError):
            same = False
        if not same:
            raise AdapterError(
                f"adapter {self.name!r}: {self.version.path} was changed or removed while it was "
                "in use, expected the same file; start again when it is there"
            )
        return part.factors(tensors[part.a], tensors[part.b])

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __contains__(self, module: object) -> bool:
        return module in self.parts  # without reading

    @property
    def sizes(self) -> Mapping[str, Size]:
        """Module -> its size, without reading."""
        return {module: part.size for module, part in self.parts.items()}

    def placed(self, places: Places) -> "FileFactors":
        """Return the factors with renamed modules, without those whose place is None."""
        return FileFactors(self.name, self.version, placed(self.parts, places))

    def only(self, module: str) -> "FileFactors":
        """Return the factors of one module alone, or none if there is no such module."""
        parts = {module: self.parts[module]} if module in self.parts else {}
        return FileFactors(self.name, self.version, parts)

    def __repr__(self) -> str:
        return f"FileFactors({self.name!r}, {len(self)} modules)"
