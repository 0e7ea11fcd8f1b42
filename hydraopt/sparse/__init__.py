"""Sparse adapters: deltas of a few weights per layer, in memory and on disk."""

from .adapter import CONFIG, SPARSE, WEIGHTS, SparseAdapter, SparseDelta
from .blocks import BLOCK, as_blocks, from_blocks

__all__ = [
    "BLOCK",
    "CONFIG",
    "SPARSE",
    "WEIGHTS",
    "SparseAdapter",
    "SparseDelta",
    "as_blocks",
    "from_blocks",
]
