"""Write file contents durably, hash them and compute their size."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON with a final newline, and sync the file to disk."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: object) -> bytes:
    """Return ``value`` as indented JSON with a final newline."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file and sync it to disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_tensors(
    path: Path, tensors: Mapping[str, "torch.Tensor"], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file; a full disk raises ``OSError``, as for any other file."""
    from safetensors import SafetensorError  # takes seconds, with torch
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path, metadata=dict(metadata) if metadata else None)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def safetensors_bytes(tensors: Mapping[str, "torch.Tensor"]) -> int:
    """Return the size of ``tensors`` as a safetensors file, header included, without writing it."""
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


# in the order in which safetensors stores them
_SAFETENSORS_DTYPES = {
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.int16": "I16",
    "torch.uint8": "U8",
}
