"""Surgery: a task's correction ``y + B relu(A y)`` of a layer's input.

It is stored as factors of a module named ``LAYER.surgery``, with A ``[r, in]`` and B ``[in, r]``,
so that it is packed and switched like other factors; only code that applies factors to a model
treats it differently.
"""

import torch
from torch.nn.functional import linear


def apply_surgery(y: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return ``y + B relu(A y)`` for ``y [..., in]``."""
    return y + linear(linear(y, a).relu(), b)
