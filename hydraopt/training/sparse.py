"""Sparse adapters (arXiv 2507.07140): train a few weights per layer, chosen by sensitivity.

    h = x (W + D * M),    W frozen, D initially 0

Every 100 steps of the first epoch, one batch runs with M = 1, and M becomes the top k of the
sensitivity |D * dL/dD| per layer. M is fixed after that epoch. The block variant sums scores over
blocks of 16 x 16 weights and keeps whole blocks.

D, and so the sensitivity, is 0 initially and wherever M has always been 0. There |D| is replaced by
the learning rate, the size of AdamW's first step: at first the gradient alone decides, and weights
can still enter later [inferred].

PEFT's sparse tuner (SHiRA) fixes its masks before training and its number of values at r (m + n),
so it supports neither masks chosen in training nor a share of a layer.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from ..base_layers import replace_layers
from ..errors import TrainingError
from ..sparse import BLOCK, SparseAdapter, SparseDelta, as_blocks, from_blocks
from .loop import Schedule
from .targets import target_layers

EVERY = 100  # steps between updates of the masks

T = TypeVar("T")


@dataclass(frozen=True)
class SparseConfig:
    """Density and granularity of a sparse adapter.

    Attributes:
        keep: share of each layer's weights to train, in (0, 1]; 0.05 to 0.1 in the paper.
        block: choose whole blocks of 16 x 16 weights.

    Raises:
        TrainingError: ``keep`` is outside (0, 1].
    """

    keep: float = 0.05
    block: bool = False

    def __post_init__(self):
        if not 0 < self.keep <= 1:
            raise TrainingError(f"keep is {self.keep}, expected above 0 and at most 1")

    def count(self, shape: Sequence[int]) -> int:
        """Return the number of weights, or blocks, to keep in a layer; at least one."""
        units = math.prod(shape) // (BLOCK * BLOCK if self.block else 1)
        return max(1, round(self.keep * units))


class SparseLinear(nn.Module):
    """A frozen linear layer with a masked delta of its weight: ``delta``, ``mask [out, in]``."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.linear = linear
        self.delta = nn.Parameter(torch.zeros_like(linear.weight))
        self.register_buffer("mask", torch.zeros_like(linear.weight, dtype=torch.bool))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [..., in]`` -> ``[..., out]``."""
        return F.linear(x, self.linear.weight + self.delta * self.mask, self.linear.bias)


def add_sparse(
    model: nn.Module, targets: Sequence[str], config: SparseConfig
) -> dict[str, SparseLinear]:
    """Add masked deltas to the target layers of ``model``, in place; masks start empty.

    Raises:
        TrainingError: a target is not a linear layer, or a layer is not divisible into blocks.
    """
    layers = target_layers(model, targets)
    for name, layer in layers.items():
        shape = tuple(layer.weight.shape)
        if config.block and any(size % BLOCK for size in shape):
            raise TrainingError(
                f"{name} is {shape} (out, in), expected multiples of {BLOCK} for blocks; leave it "
                "out of the targets, or choose single weights",
                options=["block"],
            )
    return replace_layers(model, layers, SparseLinear)


@dataclass(frozen=True)
class Masks(Generic[T]):
    """Updates masks during the first epoch.

    Attributes:
        layers: name -> layer whose mask is updated.
        config: density and granularity.
        loss: mean loss of a mini-batch of examples.
        schedule: training schedule.
        epoch: number of steps in the first epoch.
        every: steps between updates.
    """

    layers: Mapping[str, SparseLinear]
    config: SparseConfig
    loss: Callable[[Sequence[T]], torch.Tensor]
    schedule: Schedule
    epoch: int
    every: int = EVERY

    def before_step(self, step: int, examples: Sequence[T]) -> None:
        """Update the masks from the step's examples if an update is due."""
        if step < self.epoch and step % self.every == 0:
            self.choose(examples)

    def choose(self, examples: Sequence[T]) -> None:
        """Run one batch with M = 1, then set M to the top k of the sensitivity."""
        layers = self.layers.values()
        for layer in layers:
            layer.mask.fill_(True)
        gradients = torch.autograd.grad(self.loss(examples), [layer.delta for layer in layers])
        for layer, gradient in zip(layers, gradients, strict=True):
            size = layer.delta.detach().abs().clamp_min(self.schedule.rate)
            layer.mask.copy_(top_mask(size * gradient.abs(), self.config))


def top_mask(scores: torch.Tensor, config: SparseConfig) -> torch.Tensor:
    """Return a bool mask ``[out, in]`` of the largest scores, as many as ``config`` keeps."""
    count = config.count(scores.shape)
    if config.block:
        sums = as_blocks(scores).sum((2, 3))
        return from_blocks(_top(sums, count)[:, :, None, None].expand(-1, -1, BLOCK, BLOCK))
    return _top(scores, count)


def _top(scores: torch.Tensor, count: int) -> torch.Tensor:
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[scores.flatten().topk(count).indices] = True
    return mask.view(scores.shape)


def sparse_adapter(
    layers: Mapping[str, SparseLinear],
    base_model: str,
    task: str,
    settings: Mapping[str, int | float | bool],
    *,
    block: bool,
) -> SparseAdapter:
    """Collect the trained deltas inside the masks."""
    modules = {
        name: SparseDelta.from_dense(layer.delta.detach().cpu(), layer.mask.cpu(), block=block)
        for name, layer in layers.items()
    }
    return SparseAdapter(base_model, (task,), modules, settings)
