"""Merged results beside formulas on dense deltas."""

import math

import torch
from conftest import delta

TASKS, RANK = 6, 3  # the sum of the ranks exceeds out and in: nothing is cut by default
MODULES = ("layer0", "layer1")


def dense(adapters, module):
    """All deltas of one module, ``[T, out, in]`` float64."""
    return torch.stack([delta(x.factors[module]) for x in adapters.adapters])


def found(merged, module):
    """What the method gives every task, ``[T, out, in]`` float64."""
    return torch.stack([delta(merged.factors(task, module)) for task in merged.tasks])


def agree(merged, module, wanted, tolerance=1e-5):
    """``wanted`` is ``[T, out, in]``, or one ``[out, in]`` for all tasks."""
    difference = (found(merged, module) - wanted).norm() / wanted.expand(TASKS, -1, -1).norm()
    assert difference < tolerance


def kept(x, density):
    """``x`` with all but its largest entries set to 0, by sorting."""
    order = x.abs().flatten().argsort(descending=True)
    result = torch.zeros_like(x).flatten()
    largest = order[: math.ceil(density * x.numel())]
    result[largest] = x.flatten()[largest]
    return result.reshape(x.shape)


def elected_mean(parts):
    """TIES's election and disjoint mean of ``[T, …]``, entry by entry."""
    sign = parts.sum(0).sign()
    agreeing = (parts.sign() == sign) & (parts != 0)
    return (parts * agreeing).sum(0) / agreeing.sum(0).clamp_min(1)
