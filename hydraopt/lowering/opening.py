"""What an export takes: a directory of adapters of any kind, told by the file that describes it."""

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
        static: put those of several tasks into the base's weights; the others always are.

    Raises:
        BundleError: a missing, damaged or newer-format file.
        LoweringError: adapters to put into the weights that differ between the tasks.
    """
    for description, read in TRAINED.items():
        if (directory / description).exists():
            return read(directory)
    stored = open_stored(directory)
    return static_merged(stored) if static else stored


def _hydralora(directory: Path) -> StaticAdapter:
    """Its task is named after the directory."""
    name = directory.resolve().name
    task = name if TASK_NAME.fullmatch(name) else "hydralora"
    return static_hydralora(HydraLora.load(directory), task)


def _sparse(directory: Path) -> StaticAdapter:
    return static_sparse(SparseAdapter.load(directory))


TRAINED: Mapping[str, Callable[[Path], StaticAdapter]] = {HYDRALORA: _hydralora, SPARSE: _sparse}
"""File that describes what ``train`` wrote -> its reader."""
