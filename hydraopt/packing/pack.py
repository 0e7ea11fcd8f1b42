"""Pack files: a header and a payload, as FORMAT.md describes them."""

import hashlib
import struct
from pathlib import Path

import numpy as np
import torch

from ..errors import BundleError

MAGIC = b"HYDRAPK1"
HEADER = struct.Struct("<8sQ16s32s")  # magic, payload bytes, binding, SHA-256 of the payload


def pack_bytes(payload: int) -> int:
    """Size of the pack file of ``payload`` bytes."""
    return HEADER.size + payload


def write_pack(path: Path, payload: torch.Tensor, binding: bytes) -> None:
    """Write ``payload``, uint8 ``[N]``; ``binding`` is :meth:`~.layout.Layout.binding`."""
    content = payload.numpy().tobytes()
    digest = hashlib.sha256(content).digest()
    path.write_bytes(HEADER.pack(MAGIC, len(content), binding, digest) + content)


def read_pack(path: Path, size: int, binding: bytes | None = None) -> torch.Tensor:
    """A pack's payload, uint8 ``[size]``.

    Args:
        path: the pack file.
        size: the payload's expected bytes.
        binding: of the bundle that reads it; None for the shared pack, which the others bind to.

    Raises:
        BundleError: a pack that is missing, truncated, of another layout, or damaged.
    """
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise BundleError(
            f"pack {path} cannot be read ({error.strerror or error}); export or copy it again"
        ) from error
    if len(content) < HEADER.size or content[: len(MAGIC)].tobytes() != MAGIC:
        raise BundleError(f"{path} is no pack: it does not start with {MAGIC!r}; copy it again")
    _, length, bound, digest = HEADER.unpack_from(content)
    if binding is not None and bound != binding:
        raise BundleError(
            f"pack {path} belongs to another layout: it is bound to {bound.hex()[:12]}…, expected "
            f"{binding.hex()[:12]}…; copy the right pack"
        )
    payload = content[HEADER.size :]
    if not len(payload) == length == size:
        raise BundleError(
            f"pack {path} has {len(payload):,} bytes after its header, expected {size:,}; "
            "copy it again"
        )
    if hashlib.sha256(payload).digest() != digest:
        raise BundleError(f"pack {path} is damaged: its SHA-256 differs; copy it again")
    return torch.from_numpy(payload)
