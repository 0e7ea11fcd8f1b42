"""Codes of int4 in groups of 32, the format of weights in quantised layers.

Each group has a bfloat16 scale; a value is ``(nibble - 8) * scale``. Values take 4.5 bits with
their scales. A layer of a program holds exactly the values that a pack decodes to.
"""

from typing import NamedTuple

import torch
from torch.nn.functional import embedding, pad

from ..formats.codes import GROUP

SMALLEST, LARGEST = -8, 7
SHRINK = torch.arange(0.6, 1.05, 0.04)  # candidates, relative to the scale without clipping
TINY = 1e-20  # replaces 0 in divisions and logarithms


class Groups(NamedTuple):
    """Integers -8 to 7, int8 ``[..., n]``, and their groups' scales, bfloat16 ``[..., n / 32]``."""

    values: torch.Tensor
    scales: torch.Tensor


def encode_groups(x: torch.Tensor) -> torch.Tensor:
    """Encode vectors ``x [N, n]`` to uint8 ``[N, width]``: all nibbles, then all scales.

    Each group takes the candidate scale of least squared error.
    """
    groups = pad(x, (0, -x.shape[1] % GROUP)).unflatten(1, (-1, GROUP))
    widest = (groups.abs().amax(-1) / (LARGEST + 0.5)).clamp_min(TINY)
    scales = (SHRINK[:, None, None] * widest).to(torch.bfloat16)
    rounded = (groups / scales.float()[..., None]).round().clamp(SMALLEST, LARGEST)
    errors = (rounded * scales.float()[..., None] - groups).square().sum(-1)
    best = errors.argmin(0)
    scales = scales.gather(0, best[None])[0]
    values = rounded.gather(0, best[None, ..., None].expand(1, *groups.shape))[0].flatten(1)
    nibbles = (values - SMALLEST).to(torch.uint8)
    packed = nibbles[:, ::2] * 16 + nibbles[:, 1::2]
    return torch.cat([packed, scales.view(torch.uint8)], 1)


def read_groups(packed: torch.Tensor, count: int) -> Groups:
    """Return integers and scales of codes ``[..., width]``; ``count`` is a multiple of 32."""
    codes, scales = packed.split([count // 2, count // GROUP * 2], -1)
    nibbles = torch.stack([codes >> 4, codes & 15], -1).flatten(-2)
    # scales may start at an odd byte, a bfloat16 view may not
    own = scales.clone(memory_format=torch.contiguous_format)
    return Groups(nibbles.to(torch.int8) + SMALLEST, own.view(torch.bfloat16))


def group_levels(packed: torch.Tensor, count: int) -> torch.Tensor:
    """Decode codes ``[..., width]`` to levels, float32 ``[..., count]``.

    Only operators that ExecuTorch supports are used: tables decode the two bytes of a bfloat16.
    """
    groups = -(-count // GROUP)
    codes, scales = packed.split([groups * GROUP // 2, groups * 2], -1)
    # a table of both nibbles of a byte
    byte = torch.arange(256)
    pairs = torch.stack([byte // 16, byte % 16], 1).float() + SMALLEST
    values = embedding(codes.to(torch.int32), pairs).flatten(-2).unflatten(-1, (groups, GROUP))
    low, high = (scales.unflatten(-1, (groups, 2)).to(torch.int32)[..., i] for i in (0, 1))
    # positive bfloat16: the high byte holds 7 bits of the exponent, the low byte its last bit
    exponent = torch.exp2(2.0 * byte - 127)[:, None].clamp(max=1e30)
    mantissa = ((1 + byte // 128) * (1 + byte % 128 / 128))[:, None]
    size = embedding(high, exponent) * embedding(low, mantissa)
    return (values * size).flatten(-2)[..., :count]
