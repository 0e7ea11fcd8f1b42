"""One task's factors as one file: the pack.

A pack is a safetensors file with a single fp16 tensor ``factors``: all factor inputs of the
program, flattened one after the other in the order of the manifest. Its metadata names the layout
(a hash of the inputs' names and shapes) and the program (SHA-256 of ``model.pte``), so that a pack
is only ever read into the program that it was made for. Tasks with equal factors share a pack.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ..errors import BundleError
from ..files import write_tensors


@dataclass(frozen=True)
class FactorInput:
    """One factor that a program takes as an input.

    ``name`` is the module's dotted name and ``.A`` or ``.B``. ``shape`` is ``(1, in, r)`` for A
    and ``(1, r, out)`` for B: transposed, as ``torch.bmm`` wants them. float32.
    """

    name: str
    shape: tuple[int, int, int]


def layout_hash(inputs: Sequence[FactorInput]) -> str:
    """Hex SHA-256 of the inputs' names and shapes, in order."""
    names = json.dumps([[factor.name, *factor.shape] for factor in inputs])
    return hashlib.sha256(names.encode()).hexdigest()


def flatten(factors: Sequence[torch.Tensor]) -> torch.Tensor:
    """A pack's content, fp16 ``[values]``, from one tensor per factor input."""
    return torch.cat([torch.zeros(0), *(factor.reshape(-1) for factor in factors)]).half()


def write_pack(path: Path, content: torch.Tensor, layout: str, program: str) -> None:
    """Write what :func:`flatten` made, for inputs of ``layout`` of ``program``."""
    write_tensors(path, {"factors": content}, {"layout": layout, "program": program})


def read_pack(path: Path, values: int, layout: str, program: str) -> torch.Tensor:
    """A pack's content, fp16 ``[values]``, mapped from the file without a copy.

    Raises:
        BundleError: a pack that is truncated, of another layout or of another program.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            content = file.get_tensor("factors")
    except (SafetensorError, OSError) as error:
        raise BundleError(
            f"pack {path} is missing or damaged ({error}); export or copy the bundle again"
        ) from error
    for key, expected in (("layout", layout), ("program", program)):
        if metadata.get(key) != expected:
            raise BundleError(
                f"pack {path} belongs to another bundle: its {key} is "
                f"{str(metadata.get(key))[:12]}…, expected {expected[:12]}…; copy the right pack"
            )
    if content.numel() != values:
        raise BundleError(
            f"pack {path} has {content.numel()} values, expected {values}; copy it again"
        )
    return content
