"""A frozen base model that multiplies matrices in bfloat16."""

import torch
from torch import nn


def use_bfloat16(model: nn.Module) -> None:
    """Let ``forward`` multiply matrices in bfloat16, which some processors do faster.

    As ``torch.autocast`` does it, which casts weights that are not trained in every call; here the
    linear layers hold them in bfloat16 from now on. Embeddings and norms stay as they are, and so
    does an embedding that is tied to a linear layer.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight = nn.Parameter(module.weight.detach().bfloat16(), requires_grad=False)
    device = next(model.parameters()).device.type
    model.forward = torch.autocast(device, torch.bfloat16)(model.forward)
