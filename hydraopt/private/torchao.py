"""torchao: weights of given integers, and the output shapes of its operators."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import nn

from .names import Name
from .torch import known_shapes

INT_TENSOR = Name(
    "torchao.quantization:IntxUnpackedToInt8Tensor", "is a weight of given integers and scales"
)
ACTIVATIONS = Name(
    "torchao.quantization.quantize_.workflows.intx.intx_unpacked_to_int8_tensor:IntxUnpackedToInt8TensorActivationQuantization.INT8_ASYM_PER_TOKEN",
    "quantises activations to int8 beside such a weight",
)
UNWRAP = Name(
    "torchao.utils:unwrap_tensor_subclass",
    "converts quantised weights to plain tensors for torch.export",
)
OPERATORS = [
    Name(
        f"torchao.quantization.quant_primitives:torch.ops.torchao.{name}.default",
        "decomposes into some twenty operators, which a trace would repeat for every layer",
    )
    for name in ("choose_qparams_affine", "quantize_affine", "dequantize_affine")
]


def integer_weight(values: torch.Tensor, scales: torch.Tensor, bits: int) -> nn.Parameter:
    """Build a quantised weight of exactly the given integers, with int8 activations.

    torchao's public functions quantise float weights with scales of their own.

    Args:
        values: integers of ``bits`` bits, int8 ``[out, in]``.
        scales: float32 ``[out, in / group]``.
        bits: 4 or 8.
    """
    weight = INT_TENSOR.get()(
        qdata=values,
        scale=scales,
        zero_point=torch.zeros_like(scales, dtype=torch.int8),
        target_dtype=getattr(torch, f"int{bits}"),
        block_size=(1, values.shape[1] // scales.shape[1]),
        dtype=torch.float32,
        activation_quantization=ACTIVATIONS.get(),
    )
    return nn.Parameter(weight, requires_grad=False)


def plain(module: nn.Module) -> None:
    """Convert quantised weights to plain tensors in place, as ``torch.export`` requires."""
    UNWRAP.get()(module)


def operator_shapes() -> AbstractContextManager[None]:
    """Compute output shapes of quantisation operators without tracing into them."""
    shapes = (_scale_and_zero, _like_with_dtype, _like_dequantized)
    operators = [name.get() for name in OPERATORS]
    return known_shapes("torchao", dict(zip(operators, shapes, strict=True)))


def _scale_and_zero(
    x: torch.Tensor,
    mapping_type: str,
    block_size: Sequence[int],
    target_dtype: torch.dtype,
    quant_min: float | None = None,
    quant_max: float | None = None,
    eps: float | None = None,
    scale_dtype: torch.dtype | None = None,
    zero_point_dtype: torch.dtype | None = None,
    keepdim: bool = False,
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return tensors like the scale and zero point of each row; None for other blocks."""
    *leading, last = block_size
    if any(size != 1 for size in leading) or last != x.shape[-1]:
        return None
    shape = (*x.shape[:-1], 1)
    return (
        x.new_empty(shape, dtype=scale_dtype or x.dtype),
        x.new_empty(shape, dtype=zero_point_dtype or torch.int32),
    )


def _like_with_dtype(
    x: torch.Tensor, block_size, scale, zero_point, output_dtype: torch.dtype, *_, **__
) -> torch.Tensor:
    return torch.empty_like(x, dtype=output_dtype)


def _like_dequantized(
    x: torch.Tensor,
    block_size,
    scale,
    zero_point,
    input_dtype,
    quant_min=None,
    quant_max=None,
    output_dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    return torch.empty_like(x, dtype=output_dtype)
