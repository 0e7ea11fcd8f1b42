"""Read and write packs: a header and a payload, as in docs/formats.md."""

import hashlib
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BundleError

MAGIC = b"HYDRAPK1"
ALIGNMENT = 64  # bytes, of packs in a single file
HEADER = struct.Struct("<8sQ16s32s")  # magic, payload bytes, binding, SHA-256 of the payload
SHARED, PACKS, SUFFIX = "shared.pack", "packs", ".pack"
SINGLE = "tasks.pack"  # the file with the packs of all tasks, if they are not separate files


@dataclass(frozen=True)
class Pack:
    """Location of a task's bytes.

    Attributes:
        file: path inside the directory.
        offset: offset of the first byte.
        length: number of bytes.
        sha256: hex SHA-256 of these bytes.
    """

    file: str
    offset: int
    length: int
    sha256: str

    @property
    def payload_bytes(self) -> int:
        """Size of the payload in bytes, without the header."""
        return self.length - HEADER.size

    @classmethod
    def of(cls, directory: Path, file: str) -> "Pack":
        """Return the location of a whole file."""
        return cls.holding((directory / file).read_bytes(), file)

    @classmethod
    def holding(cls, content: bytes, file: str, offset: int = 0) -> "Pack":
        """Return the location of ``content`` in ``file``."""
        return cls(file, offset, len(content), hashlib.sha256(content).hexdigest())

    def read(self, directory: Path) -> np.ndarray:
        """Read the bytes, uint8 ``[length]``.

        Raises:
            BundleError: bytes are missing or differ from the record.
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
        """Read the payload of a task's pack, uint8 ``[size]``.

        Args:
            directory: directory of a bundle or of compressed adapters.
            size: expected bytes of the payload.
            binding: binding of the layout and its shared payload.

        Raises:
            BundleError: the pack is missing, damaged or of another layout.
        """
        return bound_payload(self.read(directory), directory / self.file, size, binding)


def bound_payload(content: np.ndarray, path: Path, size: int, binding: bytes) -> np.ndarray:
    """Return the payload of a pack of ``path``, uint8 ``[64 + size]``; arguments as for a file.

    Raises:
        BundleError: the pack is damaged or of another layout.
    """
    payload, bound, _ = _opened(content, path, size)
    if bound != binding:
        raise BundleError(
            f"pack {path} belongs to another layout: it is bound to {bound.hex()[:12]}…, "
            f"expected {binding.hex()[:12]}…; copy the right pack"
        )
    return payload


def read_shared_pack(path: Path, size: int) -> np.ndarray:
    """Read the shared payload, uint8 ``[size]``, to which the other packs are bound.

    Raises:
        BundleError: the pack is missing, truncated, damaged or of another layout.
    """
    content = _bytes(path, 0, HEADER.size + size + 1)
    payload, _, digest = _opened(content, path, size)
    if hashlib.sha256(payload.data).digest() != digest:
        raise BundleError(f"pack {path} is damaged: its SHA-256 differs; copy it again")
    return payload


def pack_bytes(payload: int) -> int:
    """Return the size of a pack with ``payload`` bytes."""
    return HEADER.size + payload


def pack(payload: np.ndarray, binding: bytes) -> bytes:
    """Return the pack of a payload, uint8 ``[N]``; ``binding`` is its layout's."""
    content = payload.tobytes()
    digest = hashlib.sha256(content).digest()
    return HEADER.pack(MAGIC, len(content), binding, digest) + content


def write_each(directory: Path, contents: Mapping[str, bytes]) -> dict[str, Pack]:
    """Write each pack to its own file; return path inside ``directory`` -> location."""
    (directory / PACKS).mkdir()
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    return {name: Pack.holding(content, name) for name, content in contents.items()}


def write_single(directory: Path, contents: Mapping[str, bytes]) -> dict[str, Pack]:
    """Write all packs to a single file; return name -> location."""
    with open(directory / SINGLE, "xb") as file:
        places = {}
        for name, content in contents.items():
            places[name] = Pack.holding(content, SINGLE, file.tell())
            file.write(content)
            file.write(bytes(-len(content) % ALIGNMENT))
    return places


def pack_name(task: str) -> str:
    """Return the path of a task's own pack inside a directory."""
    return f"{PACKS}/{task}{SUFFIX}"


def is_pack_name(name: str) -> bool:
    """Return whether a path is one of :func:`pack_name`, or the single file of all packs."""
    directory, _, file = name.rpartition("/")
    return name == SINGLE or (directory == PACKS and file.endswith(SUFFIX))


def _bytes(path: Path, offset: int, count: int) -> np.ndarray:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would block
            raise BundleError(f"pack {path} is not a regular file; export or copy it again")
        there = max(0, status.st_size - offset)  # an untrusted count may be petabytes
        return np.fromfile(path, dtype=np.uint8, count=min(count, there), offset=offset)
    except OSError as error:
        raise BundleError(
            f"pack {path} cannot be read ({error.strerror or error}); export or copy it again"
        ) from error


def _opened(content: np.ndarray, path: Path, size: int) -> tuple[np.ndarray, bytes, bytes]:
    """Split a pack into payload, binding and the payload's SHA-256, which is not checked."""
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
