"""Merging methods: plain functions ``AdapterSet -> MergedAdapters``, listed in ``METHODS``.

Each is in a module of its own, ``from hydraopt.merging.ties import ties``, and registers itself
when that is imported. docs/new-method.md says how to add one.
"""

from .method import Method
from .methods import METHODS
from .registry import find_method, merge_with, merging_method

__all__ = ["METHODS", "Method", "find_method", "merge_with", "merging_method"]
