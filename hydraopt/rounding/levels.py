"""Symmetric integer levels of a weight, with a positive scale for each group of a row."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch

from ..schemes import Grid

SHRUNK = [x / 40 for x in range(24, 44)]  # tried scales, as shares of one that hardly clips
CHUNK = 1 << 17  # weights at a time, which stay in the processor's cache
SMALLEST = 1e-9  # of a scale; XNNPACK refuses zero


class IntegerWeight(NamedTuple):
    """A weight ``values * scales``, with one scale for each group of a row.

    Attributes:
        values: int8 ``[out, in]``.
        scales: float32 ``[out, in / group]``.
        bits: bits of a value, 4 or 8.
    """

    values: torch.Tensor
    scales: torch.Tensor
    bits: int

    @property
    def group(self) -> int:
        """Values that share a scale."""
        return self.values.shape[1] // self.scales.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes in a program: a bfloat16 scale per int4 group, a float32 scale per int8 row."""
        size = 2 if self.bits == 4 else 4
        return self.values.numel() * self.bits // 8 + self.scales.numel() * size

    def dense(self) -> torch.Tensor:
        """Return the weight, float32 ``[out, in]``."""
        dense = torch.empty(self.values.shape)
        for rows in parts(dense):
            groups = dense[rows].unflatten(1, (-1, self.group))
            groups.copy_(self.values[rows].unflatten(1, (-1, self.group)))
            groups.mul_(self.scales[rows, :, None])
        return dense


def parts(weight: torch.Tensor, values: int = CHUNK) -> Iterator[slice]:
    """Yield the rows of parts of ``weight [out, in]`` that have about so many ``values``."""
    step = max(1, values // weight.shape[1])
    return (slice(start, start + step) for start in range(0, len(weight), step))


def search_scales(weight: torch.Tensor, importance: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Search each group's scale of least squared error, weighted by input.

    Args:
        weight: float32 ``[out, in]``.
        importance: mean square of each input, ``[in]``.
        grid: bits and groups.

    Returns:
        Float32 scales ``[out, in / group]``; those of groups are bfloat16 values, as XNNPACK
        stores them.
    """
    scales = torch.empty(len(weight), weight.shape[1] // (grid.group or weight.shape[1]))
    for rows in parts(weight):
        scales[rows] = _search(weight[rows], importance, grid)
    return scales


def _search(weight: torch.Tensor, importance: torch.Tensor, grid: Grid) -> torch.Tensor:
    group = grid.group or weight.shape[1]
    groups = weight.reshape(len(weight), -1, group)
    importance = importance.view(1, -1, group)
    widest = (groups.abs().amax(-1) / (grid.high + 0.5)).clamp_min(SMALLEST)
    least = torch.full_like(widest, math.inf)
    best = widest
    for share in SHRUNK:
        scales = widest * share
        if grid.group:
            scales = scales.bfloat16().float()
        step = scales[..., None]
        values = (groups / step).round_().clamp_(grid.low, grid.high)
        error = values.mul_(step).sub_(groups).square_().mul_(importance).sum(-1)
        better = error < least
        least, best = torch.where(better, error, least), torch.where(better, scales, best)
    return best


def round_nearest(
    weight: torch.Tensor, grid: Grid, importance: torch.Tensor | None = None
) -> IntegerWeight:
    """Round to the nearest levels of searched scales; ``importance`` is 1 by default."""
    if importance is None:
        importance = torch.ones(weight.shape[1])
    scales = search_scales(weight, importance, grid)
    values = torch.empty(weight.shape, dtype=torch.int8)
    for rows in parts(weight):
        groups = weight[rows].reshape(*scales[rows].shape, -1)
        levels = (groups / scales[rows, :, None]).round_().clamp_(grid.low, grid.high)
        values[rows] = levels.flatten(1).to(torch.int8)
    return IntegerWeight(values, scales, grid.bits)


def int8_activations(x: torch.Tensor) -> torch.Tensor:
    """Round ``x [..., n]`` to int8 with a scale and a zero point per token, as XNNPACK does."""
    low, high = x.amin(-1, keepdim=True).clamp_max(0), x.amax(-1, keepdim=True).clamp_min(0)
    scale = ((high - low) / 255).clamp_min(SMALLEST)
    zero = (-128 - low / scale).round_().clamp_(-128, 127)
    return (x / scale).round_().add_(zero).clamp_(-128, 127).sub_(zero).mul_(scale)
