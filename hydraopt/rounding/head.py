"""Round an output head: the way that changes the next token's distribution least.

Tokens that the base hardly saw have nearly equal rows. Rounded to the nearest, such rows keep what
tells them apart; GPTQ, which is better for most heads, does not.
"""

import torch
from torch.nn.functional import kl_div, linear, log_softmax

from ..schemes import Grid
from .gptq import gptq
from .levels import IntegerWeight, int8_activations, round_nearest

POSITIONS = 4096  # at which distributions are compared
PART = 128  # of them at a time


def round_head(
    weight: torch.Tensor,
    importance: torch.Tensor,
    factor: torch.Tensor,
    grid: Grid,
    inputs: torch.Tensor,
    tasks: torch.Tensor,
) -> IntegerWeight:
    """Round a head by GPTQ or to the nearest, whichever diverges least for the worst task.

    Args:
        weight: float32 ``[vocabulary, in]``.
        importance: as of :func:`.gptq.gptq`.
        factor: as of :func:`.gptq.gptq`.
        grid: bits and groups.
        inputs: the head's inputs at some positions, ``[n, in]``.
        tasks: number of each position's task, int64 ``[n]``.
    """
    candidates = (
        gptq(weight, importance, factor, grid),
        round_nearest(weight, grid, importance),
        round_nearest(weight, grid),
    )
    step = max(1, len(inputs) // POSITIONS)
    inputs, tasks = inputs[::step], tasks[::step]

    def worst(rounded: IntegerWeight) -> float:
        found = _divergences(weight, rounded.dense(), inputs)
        return max(found[tasks == task].mean().item() for task in tasks.unique())

    return min(candidates, key=worst)


def _divergences(weight: torch.Tensor, rounded: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Return the Kullback-Leibler divergences of the next token's distributions, ``[n]``."""
    found = []
    for x in inputs.split(PART):
        wanted = log_softmax(linear(x, weight), -1)
        actual = log_softmax(linear(int8_activations(x), rounded), -1)
        found.append(kl_div(actual, wanted, log_target=True, reduction="none").sum(-1))
    return torch.cat(found)
