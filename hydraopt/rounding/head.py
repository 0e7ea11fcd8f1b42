"""Round an output head by GPTQ, but rows that nearly equal another one to the nearest.

Tokens that the base hardly saw have nearly equal rows. An adapter that uses such a token needs what
tells its row from the others: rounded to the nearest they keep it, as they are rounded alike; GPTQ
gives each of them another error.
"""

import torch

from ..schemes import Grid
from .gptq import gptq
from .levels import IntegerWeight, parts, round_nearest

ALIKE = 0.5  # distance of rows that nearly equal each other, as a share of their rounding error
PROJECTED = 64  # dimensions in which distances are measured
PART = 1024  # rows at a time


def round_head(
    weight: torch.Tensor, importance: torch.Tensor, factor: torch.Tensor, grid: Grid
) -> IntegerWeight:
    """Round a head.

    Args:
        weight: float32 ``[vocabulary, in]``.
        importance: as of :func:`.gptq.gptq`.
        factor: as of :func:`.gptq.gptq`.
        grid: bits and groups.
    """
    rounded, plain = gptq(weight, importance, factor, grid), round_nearest(weight, grid)
    errors = torch.empty(len(weight))
    for rows in parts(weight):
        found = IntegerWeight(plain.values[rows], plain.scales[rows], grid.bits).dense()
        errors[rows] = (weight[rows] - found).norm(dim=1)
    alike = nearest_distances(weight) < ALIKE * errors
    rounded.values[alike], rounded.scales[alike] = plain.values[alike], plain.scales[alike]
    return rounded


def nearest_distances(rows: torch.Tensor) -> torch.Tensor:
    """Estimate how far each row is from the nearest other one.

    Args:
        rows: float32 ``[n, in]``.

    Returns:
        Distances ``[n]``, from random projections if rows are longer than :data:`PROJECTED`.
    """
    size = rows.shape[1]
    if size > PROJECTED:
        generator = torch.Generator().manual_seed(0)
        rows = rows @ torch.randn(size, PROJECTED, generator=generator) / PROJECTED**0.5
    squares, found = rows.square().sum(1), []
    for start in range(0, len(rows), PART):
        part = rows[start : start + PART]
        distances = (part @ rows.T).mul_(-2).add_(squares)
        distances[torch.arange(len(part)), torch.arange(start, start + len(part))] = torch.inf
        found.append(distances.amin(1) + squares[start : start + PART])
    return torch.cat(found).clamp_min(0).sqrt()
