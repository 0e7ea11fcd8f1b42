"""Quantised layers in the formats that XNNPACK takes."""

import torch
from torch import nn
from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
from torchao.quantization.granularity import PerAxis, PerGroup

from ....errors import LoweringError
from ....formats.codes import GROUP
from ....packing import IntegerRows
from ....private.torchao import integer_weight, plain
from ....schemes import Scheme

TAKEN = {(4, GROUP, 8), (8, None, 8)}  # weight bits, group, activation bits


def quantize_linear(model: nn.Module, scheme: Scheme) -> None:
    """Quantise all linear layers of ``model`` in place.

    Raises:
        LoweringError: XNNPACK does not support the scheme, or a layer's input size is no multiple
            of its group.
    """
    if not scheme.quantizes:
        return
    if (scheme.weight_bits, scheme.group, scheme.activation_bits) not in TAKEN:
        raise LoweringError(
            f"XNNPACK takes no layers quantised as {scheme.name}; choose another scheme",
            options=["quantize"],
        )
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module.in_features % (scheme.group or 1):
            raise LoweringError(
                f"{name} has {module.in_features} inputs, expected a multiple of {scheme.group} "
                f"for {scheme.name}; export without quantising",
                options=["quantize=none"],
            )
    granularity = PerAxis(0) if scheme.group is None else PerGroup(scheme.group)
    _quantize(model, getattr(torch, f"int{scheme.weight_bits}"), granularity)


def row_layer(rows: IntegerRows) -> nn.Linear:
    """Build a layer of exactly the rows' integers: ``x [1, S, in] -> [1, S, n]``."""
    count, width = rows.values.shape
    with torch.device("meta"):
        layer = nn.Linear(width, count, bias=False)
    layer.weight = integer_weight(rows.values, rows.scales, rows.bits)
    plain(layer)
    return layer


def _quantize(model: nn.Module, dtype: torch.dtype, granularity: PerGroup | PerAxis) -> None:
    config = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=dtype, weight_granularity=granularity
    )
    quantize_(model, config)
    plain(model)
