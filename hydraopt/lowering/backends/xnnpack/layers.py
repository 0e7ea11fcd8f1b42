"""Quantised layers in the formats that XNNPACK takes."""

from collections.abc import Mapping

import torch
from torch import nn

from ....errors import LoweringError
from ....formats.codes import GROUP
from ....private.torchao import integer_weight, plain
from ....rounding import IntegerWeight
from ....schemes import Grid, Scheme

TAKEN = {(Grid(4, GROUP), 8), (Grid(8), 8)}  # levels of weights, bits of activations


def check_layers(layers: Mapping[str, tuple[nn.Linear, Scheme]]) -> None:
    """Check the scheme of each linear layer, by name.

    Raises:
        LoweringError: XNNPACK does not support a scheme, or a layer's input size is no multiple of
            its group.
    """
    for name, (layer, scheme) in layers.items():
        if scheme.weights is None:
            continue
        if (scheme.weights, scheme.activation_bits) not in TAKEN:
            raise LoweringError(
                f"XNNPACK takes no layers quantised as {scheme.name}; choose another scheme",
                options=["quantize"],
            )
        if layer.in_features % (scheme.weights.group or 1):
            raise LoweringError(
                f"{name} has {layer.in_features} inputs, expected a multiple of "
                f"{scheme.weights.group} for {scheme.name}; export without quantising",
                options=["quantize=none"],
            )


def quantize_layers(model: nn.Module, weights: Mapping[nn.Linear, IntegerWeight]) -> None:
    """Make quantised layers of exactly the given weights, in place."""
    for layer, weight in weights.items():
        layer.weight = integer_weight(weight.values, weight.scales, weight.bits)
    plain(model)


def row_layer(rows: IntegerWeight) -> nn.Linear:
    """Build a layer of exactly the rows' integers: ``x [1, S, in] -> [1, S, n]``."""
    count, width = rows.values.shape
    with torch.device("meta"):
        layer = nn.Linear(width, count, bias=False)
    layer.weight = integer_weight(rows.values, rows.scales, rows.bits)
    plain(layer)
    return layer
