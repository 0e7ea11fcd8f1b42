"""Open a directory of adapters of any kind, recognised by its description file."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ..adapters import TASK_NAME
from ..hydralora import CONFIG as HYDRALORA
from ..hydralora import HydraLora
from ..packing import CodedAdapters, open_stored
from ..sparse import CONFIG as SPARSE
from ..sparse import SparseAdapter
from ..stored import MergedAdapters
from .static import StaticAdapter, static_hydralora, static_merged, static_sparse


def open_adapters(
    directory: Path, *, static: bool = False
) -> MergedAdapters | CodedAdapters | StaticAdapter:
    """Read what ``compress``, ``merge`` or ``train`` wrote.

    Args:
        directory: the adapters.
        static: put compressed or merged adapters into the base's weights, as trained ones are.

    Raises:
        BundleError: a file is missing, damaged or of another format version.
        LoweringError: ``static`` is set and the adapters differ between tasks.
    """
    for description, read in TRAINED.items():
        if (directory / description).exists():
            return read(directory)
    stored = open_stored(directory)
    return static_merged(stored) if static else stored


def _hydralora(directory: Path) -> StaticAdapter:
    """Read a HydraLoRA adapter; its task is named after the directory."""
    name = directory.resolve().name
    task = name if TASK_NAME.fullmatch(name) else "hydralora"
    return static_hydralora(HydraLora.load(directory), task)


def _sparse(directory: Path) -> StaticAdapter:
    return static_sparse(SparseAdapter.load(directory))


TRAINED: Mapping[str, Callable[[Path], StaticAdapter]] = {HYDRALORA: _hydralora, SPARSE: _sparse}
"""Description file of a trained adapter -> its reader."""
