"""Sparse adapters on disk: ``sparse.json`` and ``sparse.safetensors``.

Keys: ``MODULE.index [k]``, ascending positions in the flattened weight ``[out, in]``, int16
if they fit, else int32; ``MODULE.values [k]``, fp16. With blocks, positions count blocks of
16 x 16 and values are ``[k, 16, 16]``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from ..documents import read_document, sealed
from ..errors import BundleError, TrainingError
from ..files import output_directory, write_bytes, write_tensors
from ..formats.records import check_files, parse_records, records
from ..reading import file_tensors, shortened
from .blocks import BLOCK, as_blocks, from_blocks

FORMAT_VERSION = 2
WRITER = "hydraopt train sparse"
CONFIG, WEIGHTS = "sparse.json", "sparse.safetensors"
SPARSE = "sparse adapter"


class SparseDelta(NamedTuple):
    """Delta of one weight: ``shape`` (out, in), ascending ``index [k]`` and float32 ``values``.

    ``values`` is ``[k]``, or ``[k, 16, 16]`` if ``index`` counts blocks.
    """

    shape: tuple[int, int]
    index: torch.Tensor
    values: torch.Tensor

    @classmethod
    def from_dense(cls, delta: torch.Tensor, mask: torch.Tensor, *, block: bool) -> "SparseDelta":
        """Select the entries, or blocks, of a dense ``delta [out, in]`` where ``mask`` is set."""
        if block:
            kept = as_blocks(mask).flatten(0, 1).any(2).any(1)
            values = as_blocks(delta * mask).flatten(0, 1)[kept]
        else:
            kept, values = mask.flatten(), delta[mask]
        return cls(tuple(delta.shape), kept.nonzero()[:, 0], values.float())

    @property
    def block(self) -> bool:
        """Whether whole blocks are kept."""
        return self.values.dim() == 3

    def dense(self) -> torch.Tensor:
        """Return the dense float32 delta ``[out, in]``."""
        if not self.block:
            return (
                torch.zeros(math.prod(self.shape))
                .index_put_((self.index,), self.values)
                .view(self.shape)
            )
        rows, columns = (size // BLOCK for size in self.shape)
        blocks = torch.zeros(rows * columns, BLOCK, BLOCK)
        blocks[self.index] = self.values
        return from_blocks(blocks.view(rows, columns, BLOCK, BLOCK))


@dataclass(frozen=True)
class SparseAdapter:
    """A sparse adapter of one task, or of several merged tasks.

    Attributes:
        base_model: identifier of the base model.
        tasks: names of the tasks.
        modules: dotted module name -> delta of its weight.
        settings: training or merging settings, kept as a record.
    """

    base_model: str
    tasks: tuple[str, ...]
    modules: Mapping[str, SparseDelta]
    settings: Mapping[str, int | float | bool] = field(default_factory=dict)

    @property
    def values(self) -> int:
        """Number of changed weights."""
        return sum(delta.values.numel() for delta in self.modules.values())

    @property
    def stored_bytes(self) -> int:
        """Bytes of stored indices and values, without the file's header."""
        return sum(tensor.nbytes for tensor in self._tensors().values())

    def save(self, directory: str | Path, *, overwrite: bool = False) -> None:
        """Write the directory atomically.

        Raises:
            OutputError: ``directory`` exists and ``overwrite`` is false, or it cannot be written.
            TrainingError: a value is not finite in fp16.
        """
        with output_directory(directory, SPARSE, overwrite=overwrite) as staging:
            tensors = self._tensors()
            for name, tensor in tensors.items():
                if not tensor.isfinite().all():
                    raise TrainingError(f"{name} is not finite in fp16; train with a lower rate")
            write_tensors(staging / WEIGHTS, tensors)
            about = {
                "format_version": FORMAT_VERSION,
                "base_model": self.base_model,
                "tasks": list(self.tasks),
                "settings": dict(self.settings),
                "shapes": {name: list(delta.shape) for name, delta in self.modules.items()},
                "files": records(staging, [WEIGHTS]),
            }
            write_bytes(staging / CONFIG, sealed(about))

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {}
        for module, (shape, index, values) in self.modules.items():
            units = math.prod(shape) // (BLOCK * BLOCK if values.dim() == 3 else 1)
            kind = torch.int16 if units <= 1 << 15 else torch.int32
            tensors[f"{module}.index"] = index.to(kind).contiguous()
            tensors[f"{module}.values"] = values.half().contiguous()
        return tensors

    @classmethod
    def load(cls, directory: str | Path) -> "SparseAdapter":
        """Read a directory written by :meth:`save`.

        Raises:
            BundleError: a file is missing, damaged or of another format version.
        """
        directory = Path(directory)
        about = read_document(directory / CONFIG, "sparse", FORMAT_VERSION, WRITER)
        check_files(directory, parse_records(about["files"]), "train")
        try:
            tensors = file_tensors(directory / WEIGHTS)
            modules = {
                name: _delta(name, tensors, shape) for name, shape in about["shapes"].items()
            }
            tasks = tuple(about["tasks"])
            return cls(str(about["base_model"]), tasks, modules, dict(about["settings"]))
        except (RuntimeError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"{directory / WEIGHTS} is missing or damaged or does not fit {CONFIG} "
                f"({shortened(error)}); train or copy it again"
            ) from error


def _delta(module: str, tensors: Mapping[str, torch.Tensor], shape: Sequence[int]) -> SparseDelta:
    index, values = tensors[f"{module}.index"].long(), tensors[f"{module}.values"].float()
    units = math.prod(shape)
    if values.dim() == 3:
        units //= BLOCK * BLOCK
    ascending = bool((index[1:] > index[:-1]).all())
    inside = len(index) == 0 or (index[0] >= 0 and index[-1] < units)
    sized = values.shape in [(len(index),), (len(index), BLOCK, BLOCK)]
    whole = values.dim() == 1 or not any(size % BLOCK for size in shape)
    if not (ascending and inside and sized and whole and len(shape) == 2):
        raise ValueError(f"{module} has positions or values that do not fit a weight {shape}")
    if not values.isfinite().all():
        raise ValueError(f"{module} has values that are not finite")
    return SparseDelta((shape[0], shape[1]), index, values)
