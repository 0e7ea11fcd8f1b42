"""Adapters of several tasks, as ``compress`` and ``merge`` write them for later stages."""

from .adapters import Setting, StoredAdapters, described
from .merged import MergedAdapters
from .quality import relative_errors
from .rounding import Rounding
from .side import Side, head_sides, stacked

__all__ = [
    "MergedAdapters",
    "Rounding",
    "Setting",
    "Side",
    "StoredAdapters",
    "described",
    "head_sides",
    "relative_errors",
    "stacked",
]
