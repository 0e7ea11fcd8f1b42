"""Bits on disk: the layout, the codec and the packs. Knows nothing of models or ExecuTorch."""

from pathlib import Path

from ..merging import MergedAdapters
from .codec import Coded, scaled
from .coded import LAYOUT, SHARED, CodedAdapters, pack_name, read_layout
from .coder import Coder, encode_adapter
from .decode import Decode
from .encode import decode_vectors, encode_columns, fit_columns
from .groups import Groups
from .layout import Code, Direction, Layout, ModuleLayout, payload_bytes
from .pack import read_pack, write_pack
from .rows import shared_rows
from .verbatim import code_verbatim


def open_merged(directory: str | Path) -> MergedAdapters | CodedAdapters:
    """Read a merged directory of either kind.

    Raises:
        BundleError: a missing, damaged or newer-format file.
    """
    kind = CodedAdapters if (Path(directory) / LAYOUT).exists() else MergedAdapters
    return kind.load(directory)


__all__ = [
    "LAYOUT",
    "SHARED",
    "Code",
    "Coded",
    "CodedAdapters",
    "Coder",
    "Decode",
    "Direction",
    "Groups",
    "Layout",
    "MergedAdapters",
    "ModuleLayout",
    "code_verbatim",
    "decode_vectors",
    "encode_adapter",
    "encode_columns",
    "fit_columns",
    "open_merged",
    "pack_name",
    "payload_bytes",
    "read_layout",
    "read_pack",
    "scaled",
    "shared_rows",
    "write_pack",
]
