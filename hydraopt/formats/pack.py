"""Packs: a header and a payload, as docs/formats.md describes them."""

import hashlib
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BundleError

MAGIC = b"HYDRAPK1"
ALIGNMENT = 64  # bytes, of packs in one file
HEADER = struct.Struct("<8sQ16s32s")  # magic, payload bytes, binding, SHA-256 of the payload
SHARED, PACKS, SUFFIX = "shared.pack", "packs", ".pack"
SINGLE = "tasks.pack"  # holds the packs of all tasks, if they are not to be files of their own


@dataclass(frozen=True)
class Pack:
    """Where a task's bytes are.

    Attributes:
        file: path inside the directory.
        offset: of the first byte.
        length: bytes.
        sha256: hex SHA-256 of them.
    """

    file: str
    offset: int
    length: int
    sha256: str

    @property
    def payload_bytes(self) -> int:
        """Size of the payload, which is behind the header."""
        return self.length - HEADER.size

    @classmethod
    def of(cls, directory: Path, file: str) -> "Pack":
        """A whole file."""
        return cls.holding((directory / file).read_bytes(), file)

    @classmethod
    def holding(cls, content: bytes, file: str, offset: int = 0) -> "Pack":
        """Where ``content`` lies, or is going to."""
        return cls(file, offset, len(content), hashlib.sha256(content).hexdigest())

    def read(self, directory: Path) -> np.ndarray:
        """The bytes, uint8 ``[length]``.

        Raises:
            BundleError: they are missing or others than recorded.
        """
        path = directory / self.file
        content = _bytes(path, self.offset, self.length)
        if len(content) != self.length:
            raise BundleError(
                f"{path} is damaged: it ends after {self.offset + len(content):,} bytes, expected "
                f"{self.offset + self.length:,}; export or copy it again"
            )
        if hashlib.sha256(content.data).hexdigest() != self.sha256:
            raise BundleError(
                f"{path} is damaged or from another bundle: its SHA-256 differs; export or copy "
                "it again"
            )
        return content

    def payload(self, directory: Path, size: int, binding: bytes) -> np.ndarray:
        """The payload of a task's pack, uint8 ``[size]``.

        Args:
            directory: of the bundle, or of compressed adapters.
            size: the payload's expected bytes.
            binding: of the layout and of what all tasks share.

        Raises:
            BundleError: a pack that is missing, damaged or of another layout.
        """
        path = directory / self.file
        payload, bound, _ = _opened(self.read(directory), path, size)
        if bound != binding:
            raise BundleError(
                f"pack {path} belongs to another layout: it is bound to {bound.hex()[:12]}…, "
                f"expected {binding.hex()[:12]}…; copy the right pack"
            )
        return payload


def read_shared_pack(path: Path, size: int) -> np.ndarray:
    """The payload that all tasks share, uint8 ``[size]``; the other packs are bound to it.

    Raises:
        BundleError: a pack that is missing, truncated, of another layout, or damaged.
    """
    content = _bytes(path, 0, HEADER.size + size + 1)
    payload, _, digest = _opened(content, path, size)
    if hashlib.sha256(payload.data).digest() != digest:
        raise BundleError(f"pack {path} is damaged: its SHA-256 differs; copy it again")
    return payload


def pack_bytes(payload: int) -> int:
    """Size of the pack of ``payload`` bytes."""
    return HEADER.size + payload


def pack(payload: np.ndarray, binding: bytes) -> bytes:
    """A payload, uint8 ``[N]``, with its header; ``binding`` is that of its layout."""
    content = payload.tobytes()
    digest = hashlib.sha256(content).digest()
    return HEADER.pack(MAGIC, len(content), binding, digest) + content


def write_each(directory: Path, contents: Mapping[str, bytes]) -> dict[str, Pack]:
    """Write packs into files of their own; path inside ``directory`` -> where its pack is."""
    (directory / PACKS).mkdir()
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    return {name: Pack.holding(content, name) for name, content in contents.items()}


def write_single(directory: Path, contents: Mapping[str, bytes]) -> dict[str, Pack]:
    """Write packs one behind the other into one file; the same name -> where its pack is."""
    with open(directory / SINGLE, "xb") as file:
        places = {}
        for name, content in contents.items():
            places[name] = Pack.holding(content, SINGLE, file.tell())
            file.write(content)
            file.write(bytes(-len(content) % ALIGNMENT))
    return places


def pack_name(task: str) -> str:
    """Path of a task's own pack inside a directory."""
    return f"{PACKS}/{task}{SUFFIX}"


def is_pack_name(name: str) -> bool:
    """Whether a path inside a directory is one of :func:`pack_name`, or of all packs in one."""
    directory, _, file = name.rpartition("/")
    return name == SINGLE or (directory == PACKS and file.endswith(SUFFIX))


def _bytes(path: Path, offset: int, count: int) -> np.ndarray:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            raise BundleError(f"pack {path} is not a regular file; export or copy it again")
        there = max(0, status.st_size - offset)  # a count may be petabytes
        return np.fromfile(path, dtype=np.uint8, count=min(count, there), offset=offset)
    except OSError as error:
        raise BundleError(
            f"pack {path} cannot be read ({error.strerror or error}); export or copy it again"
        ) from error


def _opened(content: np.ndarray, path: Path, size: int) -> tuple[np.ndarray, bytes, bytes]:
    """Payload, binding and the payload's SHA-256, which is not compared."""
    if len(content) < HEADER.size or content[: len(MAGIC)].tobytes() != MAGIC:
        raise BundleError(f"{path} is not a pack: it does not start with {MAGIC!r}; copy it again")
    _, length, binding, digest = HEADER.unpack_from(content.data)
    payload = content[HEADER.size :]
    if not len(payload) == length == size:
        raise BundleError(
            f"pack {path} has {len(payload):,} bytes after its header, expected {size:,}; "
            "copy it again"
        )
    return payload, binding, digest
