"""bfloat16 matrix products for a frozen base model."""

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


def use_bfloat16(model: nn.Module) -> None:
    """Make ``forward`` multiply matrices in bfloat16, which is faster on some processors.

    ``torch.autocast`` alone would cast frozen weights in every call, so linear layers are converted
    in place. Embeddings, also tied ones, and norms keep their dtype.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight = nn.Parameter(module.weight.detach().bfloat16(), requires_grad=False)
    device = next(model.parameters()).device.type
    forward = torch.autocast(device, torch.bfloat16)(model.forward)
    if device == "cpu":  # whose fused attention has a slow backward pass in bfloat16
        forward = sdpa_kernel(SDPBackend.MATH)(forward)
    model.forward = forward
