"""HydraLoRA (NeurIPS 2024): one A, N experts (B matrices) and a router per layer.

    y = W0 x + s * sum_i softmax(W_g x)_i B_i A x,    s = alpha / r

for every token, summed over all experts. A and W_g start Kaiming-uniform and the B_i at zero, so
training starts from the base model; dropout applies only to A's input. This follows the authors'
code (Clin0212/HydraLoRA), without its load-balancing loss, which is off by default.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from ..errors import TrainingError


@dataclass(frozen=True)
class HydraConfig:
    """Hyperparameters of a HydraLoRA adapter.

    Attributes:
        experts: N, the number of B matrices per layer.
        rank: r.
        alpha: numerator of the scale ``alpha / r``.
        dropout: dropout probability on the input of A during training.

    Raises:
        TrainingError: fewer than 2 experts, a rank below 1, an alpha that is not positive, or a
            dropout outside [0, 1).
    """

    experts: int
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.05

    def __post_init__(self):
        if self.experts < 2:
            raise TrainingError(
                f"experts is {self.experts}, expected at least 2; one expert is a plain LoRA: "
                "use PEFT"
            )
        if self.rank < 1:
            raise TrainingError(f"rank is {self.rank}, expected at least 1")
        if not 0 < self.alpha < math.inf:
            raise TrainingError(f"alpha is {self.alpha}, expected a positive number")
        if not 0 <= self.dropout < 1:
            raise TrainingError(f"dropout is {self.dropout}, expected 0 or more and below 1")


class HydraLinear(nn.Module):
    """A frozen linear layer with HydraLoRA.

    Parameters: ``a [r, in]``, ``b [out, N r]`` (the B_i concatenated), ``route [N, in]``. They are
    not nn.Linear modules, so quantising the base leaves them in float32.
    """

    def __init__(self, linear: nn.Linear, config: HydraConfig):
        super().__init__()
        experts, rank, weight = config.experts, config.rank, linear.weight
        self.linear = linear
        self.scale = config.alpha / rank
        self.dropout = nn.Dropout(config.dropout)
        self.a = nn.Parameter(weight.new_empty(rank, linear.in_features))
        self.b = nn.Parameter(weight.new_zeros(linear.out_features, experts * rank))
        self.route = nn.Parameter(weight.new_empty(experts, linear.in_features))
        for parameter in (self.a, self.route):
            nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))  # as nn.Linear
        # 0/1 matrices repeat the router's weights and A x along all N r columns: XNNPACK delegates
        # matrix products whole, but not reshapes with a dynamic length
        spread = torch.eye(experts).repeat_interleave(rank, 0)
        self.register_buffer("spread", spread.to(weight), persistent=False)
        self.register_buffer(
            "repeat", torch.eye(rank).repeat(experts, 1).to(weight), persistent=False
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [..., in]`` -> ``[..., out]``."""
        weights = F.softmax(F.linear(x, self.route), -1)
        inner = F.linear(self.dropout(x), self.a)
        mixed = F.linear(weights, self.spread) * F.linear(inner, self.repeat)
        return self.linear(x) + self.scale * F.linear(mixed, self.b)
