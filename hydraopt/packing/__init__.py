"""Bits on disk: one task's pack file. Knows nothing of models or ExecuTorch."""

from .pack import FactorInput, flatten, layout_hash, read_pack, write_pack

__all__ = ["FactorInput", "flatten", "layout_hash", "read_pack", "write_pack"]
