"""Sparse adapters (arXiv 2507.07140): a few weights per layer, chosen by their sensitivity.

    h = x (W + D * M),    D = 0 at first, W frozen

In the first epoch, every 100 steps, one batch is run with M = 1 and M becomes the top k of the
sensitivity |D * dL/dD| per layer; afterwards M stays. The block variant adds the scores up over
blocks of 16 x 16 weights and keeps whole blocks.

D is 0 at the first step and wherever M has always been 0, and the product would be too. There |D|
counts as the learning rate, the size of AdamW's first step, so that at first the gradient alone
decides and later a weight can still enter [inferred].

PEFT's sparse tuner (SHiRA) fixes its masks before training and its number of values at r (m + n),
so that it carries neither masks that are chosen in training nor a share of a layer.
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

EVERY = 100  # steps between two choices of the masks

T = TypeVar("T")


@dataclass(frozen=True)
class SparseConfig:
    """What a sparse adapter keeps.

    Attributes:
        keep: share of a layer's weights, in (0, 1]; the paper takes 0.05 to 0.1.
        block: keep whole blocks of 16 x 16.

    Raises:
        TrainingError: a share outside (0, 1].
    """

    keep: float = 0.05
    block: bool = False

    def __post_init__(self):
        if not 0 < self.keep <= 1:
            raise TrainingError(f"keep is {self.keep}, expected above 0 and at most 1")

    def count(self, shape: Sequence[int]) -> int:
        """Number of weights, or of blocks, that a layer of ``shape`` keeps; at least one."""
        units = math.prod(shape) // (BLOCK * BLOCK if self.block else 1)
        return max(1, round(self.keep * units))


class SparseLinear(nn.Module):
    """A frozen linear layer and a masked change of its weight: ``delta``, ``mask [out, in]``."""

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
    """Put a masked change into the layers that ``targets`` name, in place; all masks are empty.

    Raises:
        TrainingError: a target that names no linear layer, or a layer that blocks do not fill.
    """
    layers = target_layers(model, targets)
    for name, layer in layers.items():
        shape = tuple(layer.weight.shape)
        if config.block and any(size % BLOCK for size in shape):
            raise TrainingError(
                f"{name} is {shape} (out, in), expected multiples of {BLOCK} for blocks; leave it "
                "out of the targets, or keep single weights",
                options=["block"],
            )
    return replace_layers(model, layers, SparseLinear)


@dataclass(frozen=True)
class Masks(Generic[T]):
    """When masks are chosen, and how.

    Attributes:
        layers: by name; their masks change.
        config: how much they keep.
        loss: mean loss of some examples.
        schedule: of the training.
        epoch: steps of the first epoch.
        every: steps between two choices.
    """

    layers: Mapping[str, SparseLinear]
    config: SparseConfig
    loss: Callable[[Sequence[T]], torch.Tensor]
    schedule: Schedule
    epoch: int
    every: int = EVERY

    def before_step(self, step: int, examples: Sequence[T]) -> None:
        """Choose new masks by these examples if it is time to, see the module."""
        if step < self.epoch and step % self.every == 0:
            self.choose(examples)

    def choose(self, examples: Sequence[T]) -> None:
        """One batch with M = 1, then M = top k of the sensitivity."""
        layers = self.layers.values()
        for layer in layers:
            layer.mask.fill_(True)
        gradients = torch.autograd.grad(self.loss(examples), [layer.delta for layer in layers])
        for layer, gradient in zip(layers, gradients, strict=True):
            size = layer.delta.detach().abs().clamp_min(self.schedule.rate)
            layer.mask.copy_(top_mask(size * gradient.abs(), self.config))


def top_mask(scores: torch.Tensor, config: SparseConfig) -> torch.Tensor:
    """Where the largest scores are: bool ``[out, in]`` with exactly as many as ``config`` keeps."""
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
    """What was trained, without the weights outside of the masks."""
    modules = {
        name: SparseDelta.from_dense(layer.delta.detach().cpu(), layer.mask.cpu(), block=block)
        for name, layer in layers.items()
    }
    return SparseAdapter(base_model, (task,), modules, settings)
