"""Merging methods: plain functions ``AdapterSet -> MergedAdapters``, listed in ``METHODS``.

Each is in a module of its own, ``from hydraopt.merging.ties import ties``, and registers itself
when that is imported. docs/new-method.md says how to add one.
"""

from ..formats.merged import DESCRIPTION
from .merged import Merged, MergedAdapters
from .method import Method, parse_settings
from .methods import METHODS
from .quality import relative_error, relative_errors
from .registry import find_method, merge_with, merging_method
from .side import Side

__all__ = [
    "DESCRIPTION",
    "METHODS",
    "Merged",
    "MergedAdapters",
    "Method",
    "Side",
    "find_method",
    "merge_with",
    "merging_method",
    "parse_settings",
    "relative_error",
    "relative_errors",
]
