"""Heads: a task's own linear classifier, which replaces the base's.

A head is stored as factors of a module named ``LAYER.task_head``, with its weight ``[classes, d]``
as A and its bias ``[1, classes]`` as B, so that it is packed and switched like other factors. If
tasks have different numbers of classes, smaller heads are padded with zero rows and biases; the
number of classes is the number of nonzero rows.
"""

import torch

from .factors import Factors


def head_factors(weight: torch.Tensor, bias: torch.Tensor) -> Factors:
    """Return a head's factors from its weight ``[classes, d]`` and bias ``[classes]``."""
    return Factors(weight.float(), bias.float()[None])


def head_tensors(head: Factors) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a head's weight and bias without padding: the inverse of :func:`head_factors`."""
    count = classes_of(head)
    return head.a[:count], head.b[0, :count]


def classes_of(head: Factors) -> int:
    """Return the number of classes of a head, without padding."""
    return int(head.a.any(1).sum())
