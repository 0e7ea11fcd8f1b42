"""Merging methods: plain functions ``AdapterSet -> MergedAdapters``, listed in ``METHODS``.

Each method lives in its own module (``from hydraopt.merging.ties import ties``) and is registered
when that module is imported. See docs/new-method.md for how to add one.
"""

from .method import Method
from .methods import METHODS
from .registry import find_method, merge_with, merging_method

__all__ = ["METHODS", "Method", "find_method", "merge_with", "merging_method"]
