"""HydraLoRA (NeurIPS 2024): one A, N experts B_i and a router per layer.

    y = W0 x + s * sum_i softmax(W_g x)_i B_i A x,    s = alpha / r

for every token and all experts. A and W_g start Kaiming-uniform, the B_i at zero, so that training
starts from the base model; dropout is on A's input only. All of this is as in the authors' code
(Clin0212/HydraLoRA); its loss that balances the experts, which is off by default, is left out.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from ..errors import TrainingError


@dataclass(frozen=True)
class HydraConfig:
    """The shape of a HydraLoRA adapter.

    Attributes:
        experts: N, number of B's per layer.
        rank: r.
        alpha: of the scale ``alpha / r``.
        dropout: on the input of A in training.

    Raises:
        TrainingError: fewer than 2 experts, a rank below 1, or a dropout outside [0, 1).
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
    """A frozen linear layer with HydraLoRA beside it.

    Parameters: ``a [r, in]``, ``b [out, N r]`` (the experts B_i side by side), ``route [N, in]``.
    They are no linear layers, so that quantising the base leaves them float32.
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
            nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))  # nn.Linear's own
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
