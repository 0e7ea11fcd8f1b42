"""bfloat16 matrix products for a frozen base model."""

import torch
from torch import nn


def use_bfloat16(model: nn.Module) -> None:
    """Make ``forward`` multiply matrices in bfloat16, which is faster on some processors.

    ``torch.autocast`` alone would cast frozen weights in every call, so linear layers are converted
    in place. Embeddings, also tied ones, and norms keep their dtype.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight = nn.Parameter(module.weight.detach().bfloat16(), requires_grad=False)
    device = next(model.parameters()).device.type
    model.forward = torch.autocast(device, torch.bfloat16)(model.forward)
