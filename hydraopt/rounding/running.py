"""Run a model with rounded weights and 8-bit inputs, as a program does, and pass gradients."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from ..hooks import input_changed, output_replaced
from .levels import IntegerWeight, int8_activations


@contextmanager
def running_rounded(
    model: nn.Module,
    weights: Mapping[str, IntegerWeight],
    embedding: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Iterator[None]:
    """Give layers rounded weights and inputs of 8 bits while the block runs.

    Rounding passes gradients on as they are (straight-through, Bengio et al., arXiv 1308.3432).

    Args:
        model: model with the layers; its own weights come back after the block.
        weights: name of a layer -> its integers.
        embedding: replaces the token embedding; None to keep it.
    """
    layers = {name: model.get_submodule(name) for name in weights}
    own = {name: layer.weight for name, layer in layers.items()}
    inputs = _RoundedInputs()
    with ExitStack() as stack:
        for name, layer in layers.items():
            dense = weights[name].dense().to(own[name])
            stack.callback(setattr, layer, "weight", own[name])
            layer.weight = nn.Parameter(dense, requires_grad=False)
            stack.enter_context(input_changed(layer, inputs))
        if embedding is not None:
            stack.enter_context(output_replaced(model.get_input_embeddings(), embedding))
        yield


class _RoundedInputs:
    """Rounds inputs, once for layers that share them."""

    def __init__(self):
        self._last: tuple[torch.Tensor, torch.Tensor] | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._last is None or self._last[0] is not x:
            self._last = x, _StraightThrough.apply(x)
        return self._last[1]


class _StraightThrough(torch.autograd.Function):
    """Rounds to int8; the gradient is that of the identity."""

    @staticmethod
    def forward(_, x: torch.Tensor) -> torch.Tensor:
        return int8_activations(x.float()).to(x.dtype)

    @staticmethod
    def backward(_, gradient: torch.Tensor) -> torch.Tensor:
        return gradient
