"""Content of files: written so that it reaches the disk, hashed, and counted."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON that ends in a newline and reached the disk."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: object) -> bytes:
    """``value`` as indented JSON that ends in a newline."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


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
