"""Round a token embedding with scales alone, as HQQ (Badri and Shaji, 2023) without zero points.

Values and scales are found in turn, each of least squared error for the other. The numbers are
those of torchao's ``hqq_scale_only``, which takes several float copies of the whole weight; these
take a few rows at a time.
"""

import torch

from ..schemes import Grid
from .levels import IntegerWeight, parts

PART = 1 << 20  # weights at a time
ITERATIONS = 20
CONVERGED = 1e-5  # largest relative change of a scale
SMALLEST = torch.finfo(torch.float32).eps  # of a scale


def round_half_quadratic(weight: torch.Tensor, grid: Grid, factor: float = 1) -> IntegerWeight:
    """Round to the nearest levels of scales that are searched in turn with them.

    Args:
        weight: float32 ``[n, d]``.
        grid: bits and groups.
        factor: multiplies the weight first.
    """
    group = grid.group or weight.shape[1]
    scales = torch.empty(len(weight), weight.shape[1] // group)
    values = torch.empty(weight.shape, dtype=torch.int8)
    rows = [*parts(weight, PART)]

    def groups(part: slice) -> torch.Tensor:
        return weight[part].unflatten(1, (-1, group)) * factor

    for part in rows:
        scales[part] = (groups(part).abs().amax(2) / -grid.low).clamp_min_(SMALLEST)
    for _ in range(ITERATIONS):
        change = 0.0
        for part in rows:
            before = scales[part].clone()
            scales[part] = _next(groups(part), before, grid)
            change = max(change, float(((scales[part] - before).abs() / before).max()))
        if change < CONVERGED:
            break
    for part in rows:
        values[part] = _nearest(groups(part), scales[part], grid).flatten(1).to(torch.int8)
    return IntegerWeight(values, scales, grid.bits)


def _next(groups: torch.Tensor, scale: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Return the scales of least squared error for the levels nearest with ``scale``."""
    levels = _nearest(groups, scale, grid)
    squares = (levels * levels).sum(2)
    fitted = torch.where(squares > 0, (groups * levels).sum(2) / squares, scale)
    return fitted.clamp_min_(SMALLEST)


def _nearest(groups: torch.Tensor, scale: torch.Tensor, grid: Grid) -> torch.Tensor:
    return (groups / scale[..., None]).round_().clamp_(grid.low, grid.high)
