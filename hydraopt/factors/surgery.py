"""Surgery beside adapters: a task's correction ``y + B relu(A y)`` of what goes into a layer.

It is kept as factors of a module named ``LAYER.surgery``, A ``[r, in]`` and B ``[in, r]``, among a
task's others, so that it is stored, packed and switched as they are; only what applies factors to
a model tells it apart.
"""

import torch
from torch.nn.functional import linear


def apply_surgery(y: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``y + B relu(A y)`` for ``y [..., in]``."""
    return y + linear(linear(y, a).relu(), b)
