"""Round all linear layers of a model in one forward pass over many texts.

Every layer is rounded when its inputs arrive, and goes on with its rounded weights: the inputs of
later layers carry the errors of earlier ones, as they will in the program. The memory is that of
one layer and of the activations of one pass.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.utils import parametrize

from ..errors import LoweringError
from ..heap import give_back
from ..progress import report_stage
from ..schemes import Grid
from .gptq import gptq, inverse_factor
from .head import round_head
from .levels import IntegerWeight, int8_activations, round_nearest

Grids = Mapping[nn.Linear, Grid]


@dataclass(frozen=True)
class Texts:
    """Texts as right-padded tokens.

    Attributes:
        ids: token ids, int64 ``[N, S]``.
        kept: which are no padding, bool ``[N, S]``.
        tasks: number of each text's task, int64 ``[N]``; all tasks count alike.
    """

    ids: torch.Tensor
    kept: torch.Tensor
    tasks: torch.Tensor

    @property
    def weights(self) -> torch.Tensor:
        """Weight of each text's tokens, ``[N]``: one over the number of its task's tokens."""
        lengths = self.kept.sum(1).float()
        sums = torch.zeros(int(self.tasks.max()) + 1).index_add_(0, self.tasks, lengths)
        return 1 / sums[self.tasks]

    @property
    def tokens(self) -> int:
        """Number of tokens without padding."""
        return int(self.kept.sum())


@dataclass
class _Inputs:
    """Inputs of the layers that ran last; layers that share inputs share their statistics."""

    x: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    rounded: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    importance: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    factor: torch.Tensor = field(default_factory=lambda: torch.empty(0))


@torch.no_grad()
def round_layers(
    grids: Grids,
    texts: Texts,
    run: Callable[[], object],
    head: nn.Module | None = None,
) -> dict[nn.Linear, IntegerWeight]:
    """Round layers to integers in the order in which they run; their weights change in place.

    Args:
        grids: levels of each layer to round.
        texts: what ``run`` runs the model on.
        run: runs the model, in float32, once on all texts.
        head: the output head, see :func:`.head.round_head`; it runs on one position only, as its
            outputs are not used.

    Returns:
        The rounded weights of all layers. A layer that does not run, or whose inputs are all zero,
        is rounded without data.

    Raises:
        LoweringError: inputs of a layer are not finite.
    """
    rounded: dict[nn.Linear, IntegerWeight] = {}
    seen = _Inputs()

    def before(layer: nn.Linear, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        if layer not in rounded:
            report_stage(f"Rounding layer {len(rounded) + 1} of {len(grids)}")
            if inputs[0] is not seen.x:
                _observe(seen, inputs[0], texts)
            round_layer = round_head if layer is head else gptq
            rounded[layer] = _round(layer, seen, grids[layer], round_layer)
        x = seen.rounded if inputs[0] is seen.x else int8_activations(inputs[0])
        return (x[:, :1] if layer is head else x,)

    with ExitStack() as stack:
        for layer in grids:
            stack.callback(layer.register_forward_pre_hook(before).remove)
        run()
    for layer in grids.keys() - rounded.keys():
        rounded[layer] = set_rounded(layer, round_nearest(layer.weight, grids[layer]))
    return rounded


class _Dense(nn.Module):
    """Makes a layer's weight of its integers whenever it is used."""

    def __init__(self, rounded: IntegerWeight):
        super().__init__()
        self.scales, self.bits = rounded.scales, rounded.bits

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """``values [out, in]`` int8 -> the weight, float32."""
        return IntegerWeight(values, self.scales, self.bits).dense()


def set_rounded(layer: nn.Linear, rounded: IntegerWeight) -> IntegerWeight:
    """Set a layer's weights to rounded ones, and return these; the layer holds integers only."""
    layer.weight = nn.Parameter(rounded.values, requires_grad=False)
    parametrize.register_parametrization(layer, "weight", _Dense(rounded), unsafe=True)
    give_back()  # the floats
    return rounded


def clear_rounded(layer: nn.Linear) -> None:
    """Leave a layer of :func:`set_rounded` with its int8 values as weight, to be replaced."""
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)


def _observe(seen: _Inputs, x: torch.Tensor, texts: Texts) -> None:
    seen.x = x
    seen.rounded = seen.factor = x.new_empty(0)  # which were as large as what follows
    tokens = int8_activations(x).flatten(0, -2)
    if x.dim() == 3:  # no pooled texts
        weights = (texts.weights[:, None] * texts.kept).flatten()
        used = weights > 0
        tokens = tokens[used].mul_(weights[used, None].sqrt())
    moments = tokens.T @ tokens
    del tokens
    if not moments.isfinite().all():
        raise LoweringError(
            "a layer of the base has inputs that are not finite on the texts to calibrate with; "
            "calibrate with others, or without",
            options=["calibration"],
        )
    seen.importance = moments.diagonal().clone()
    seen.factor = inverse_factor(moments)
    seen.rounded = int8_activations(x)


def _round(
    layer: nn.Linear, seen: _Inputs, grid: Grid, round_layer: Callable[..., IntegerWeight]
) -> IntegerWeight:
    weight = layer.weight.detach()
    if seen.importance.any():
        return set_rounded(layer, round_layer(weight, seen.importance, seen.factor, grid))
    return set_rounded(layer, round_nearest(weight, grid))
