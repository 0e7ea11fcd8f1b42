"""Codes of fp16 as two planes of bytes: all high bytes of a vector, then all low bytes."""

import torch
from torch.nn.functional import embedding

LARGEST = 65504.0


def encode_halves(x: torch.Tensor) -> torch.Tensor:
    """Encode ``x [N, n]``, rounded to fp16, to uint8 ``[N, 2 n]``."""
    bits = x.to(torch.float16).view(torch.int16).int()
    return torch.cat([bits >> 8 & 255, bits & 255], -1).to(torch.uint8)


def half_levels(packed: torch.Tensor, count: int) -> torch.Tensor:
    """Decode codes ``[..., 2 count]`` exactly to float32 ``[..., count]``.

    Only operators that ExecuTorch supports are used: tables of the high byte (sign, exponent, two
    bits of the mantissa) give a value, and the increment per unit of the low byte.
    """
    byte = torch.arange(256)
    exponent, mantissa = byte % 128 // 4, byte % 4
    unit = torch.exp2(exponent.clamp_min(1) - 25.0) * (1 - 2 * (byte // 128))
    value = unit * 256 * (mantissa + 4 * exponent.clamp_max(1))
    high, low = packed[..., :count].to(torch.int32), packed[..., count:].to(torch.float32)
    return embedding(high, value[:, None])[..., 0] + embedding(high, unit[:, None])[..., 0] * low
