"""The codec: adapters to codes within a byte budget, and packs back to factors."""

from pathlib import Path

from ..formats.layout import LAYOUT
from ..stored import MergedAdapters
from .codec import Coded, scaled
from .coded import CodedAdapters, read_coded_layout
from .coder import Coder, encode_adapter
from .encode import decode_vectors, encode_columns, fit_columns
from .rows import rounded_rows, shared_rows
from .unpack import Unpack
from .verbatim import code_verbatim


def open_stored(directory: str | Path) -> MergedAdapters | CodedAdapters:
    """Read adapters that ``compress`` or ``merge`` wrote.

    Raises:
        BundleError: a file is missing, damaged or of another format version.
    """
    kind = CodedAdapters if (Path(directory) / LAYOUT).exists() else MergedAdapters
    return kind.load(directory)


__all__ = [
    "Coded",
    "CodedAdapters",
    "Coder",
    "Unpack",
    "code_verbatim",
    "decode_vectors",
    "encode_adapter",
    "encode_columns",
    "fit_columns",
    "open_stored",
    "read_coded_layout",
    "rounded_rows",
    "scaled",
    "shared_rows",
]
