"""Heads beside adapters: a task's own classifier, one linear layer in place of the base's.

It is kept as factors of a module named ``LAYER.task_head``: A is its weight ``[classes, d]`` and B
its bias ``[1, classes]``. So it is stored, packed and switched as a task's other factors are. Where
tasks have different numbers of classes, the smaller ones get zeros as further rows and biases; a
class's own row is never zero, which tells how many a task has.
"""

import torch

from .factors import Factors


def head_factors(weight: torch.Tensor, bias: torch.Tensor) -> Factors:
    """A head from its weight ``[classes, d]`` and bias ``[classes]``."""
    return Factors(weight.float(), bias.float()[None])


def head_tensors(head: Factors) -> tuple[torch.Tensor, torch.Tensor]:
    """The inverse of :func:`head_factors`, without padding."""
    count = classes_of(head)
    return head.a[:count], head.b[0, :count]


def classes_of(head: Factors) -> int:
    """How many classes a head has, without those that pad it."""
    return int(head.a.any(1).sum())
