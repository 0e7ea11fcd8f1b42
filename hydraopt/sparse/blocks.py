"""Split weights into blocks of 16 x 16."""

import torch

BLOCK = 16


def as_blocks(x: torch.Tensor) -> torch.Tensor:
    """``[out, in]`` -> ``[out / 16, in / 16, 16, 16]``."""
    rows, columns = x.shape
    return x.reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK).transpose(1, 2)


def from_blocks(x: torch.Tensor) -> torch.Tensor:
    """Inverse of :func:`as_blocks`."""
    rows, columns = x.shape[:2]
    return x.transpose(1, 2).reshape(rows * BLOCK, columns * BLOCK)
