"""GPTQ, Frantar et al., arXiv 2210.17323: round column by column, later columns make up for it.

The error of a rounded column goes to the columns that are not rounded yet, in proportion to how
their inputs correlate. A group's scales are searched when its turn comes, on the changed weights.
"""

import torch

from ..schemes import Grid
from .levels import IntegerWeight, search_scales

DAMPING = 0.01  # of the mean square, added to every input's
BLOCK = 32  # columns whose errors go to later columns at once; a group, if there are any
PART = 16384  # rows at a time; they do not depend on each other


def inverse_factor(moments: torch.Tensor) -> torch.Tensor:
    """Return the upper Cholesky factor of the inverse of damped second moments.

    Args:
        moments: second moments of a layer's inputs, float32 ``[in, in]``; inputs that are always
            zero are allowed.
    """
    moments, diagonal = moments.clone(), moments.diagonal()
    unseen = diagonal == 0
    moments.diagonal()[unseen] = 1
    damping = DAMPING * moments.diagonal().mean()
    while True:  # until they are positive definite in float32
        moments.diagonal().add_(damping)
        factor, failed = torch.linalg.cholesky_ex(moments)
        if not failed:
            inverse = torch.cholesky_inverse(factor)
            del factor
            upper, failed = torch.linalg.cholesky_ex(inverse, upper=True)
            del inverse
            if not failed:
                return upper
        damping *= 10


def gptq(
    weight: torch.Tensor, importance: torch.Tensor, factor: torch.Tensor, grid: Grid
) -> IntegerWeight:
    """Round a layer's weights.

    Args:
        weight: float32 ``[out, in]``.
        importance: mean square of each input, ``[in]``.
        factor: from :func:`inverse_factor`.
        grid: bits and groups.
    """
    parts = [_part(rows, importance, factor, grid) for rows in weight.split(PART)]
    values, scales = (torch.cat(x) for x in zip(*parts, strict=True))
    return IntegerWeight(values, scales, grid.bits)


def _part(
    weight: torch.Tensor, importance: torch.Tensor, factor: torch.Tensor, grid: Grid
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round some rows; return values and scales."""
    rest, values, scales = weight.clone(), torch.empty_like(weight, dtype=torch.int8), []
    if grid.group is None:
        scales.append(search_scales(weight, importance, grid))
    for start in range(0, weight.shape[1], grid.group or BLOCK):
        end = min(start + (grid.group or BLOCK), weight.shape[1])
        if grid.group is not None:
            scales.append(search_scales(rest[:, start:end], importance[start:end], grid))
        upper = factor[start:end, start:end]
        values[:, start:end], errors = _block(rest[:, start:end], scales[-1], upper, grid)
        rest[:, end:] -= errors @ factor[start:end, end:]
    return values, torch.cat(scales, 1)


def _block(
    block: torch.Tensor, scale: torch.Tensor, upper: torch.Tensor, grid: Grid
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round some columns ``[out, n]`` with one scale ``[out, 1]``; return values and errors."""
    block = block.T.contiguous()
    scale, errors = scale[:, 0], torch.empty_like(block)
    values = torch.empty_like(block)
    for column, weight in enumerate(block):
        values[column] = (weight / scale).round_().clamp_(grid.low, grid.high)
        errors[column] = (weight - values[column] * scale) / upper[column, column]
        block[column + 1 :].addr_(upper[column, column + 1 :], errors[column], alpha=-1)
    return values.T.to(torch.int8), errors.T
