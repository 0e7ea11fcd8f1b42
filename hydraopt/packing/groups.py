"""Codes of int4 in groups of 32, the form in which a program's quantised layers hold weights.

Each group has a scale, a bfloat16; a value is ``(nibble - 8) * scale``. With their scales, values
take 4.5 bits. What lowering makes a layer of is what a pack decodes to, bit for bit.
"""

from typing import NamedTuple

import torch
from torch.nn.functional import embedding, pad

from ..formats.codes import GROUP

SMALLEST, LARGEST = -8, 7
SHRINK = torch.arange(0.6, 1.05, 0.04)  # of the scale that clips nothing
TINY = 1e-20  # in place of 0, to divide by and to take logarithms of


class Groups(NamedTuple):
    """Integers -8 to 7, int8 ``[..., n]``, and their groups' scales, bfloat16 ``[..., n / 32]``."""

    values: torch.Tensor
    scales: torch.Tensor


def encode_groups(x: torch.Tensor) -> torch.Tensor:
    """Bytes, uint8 ``[N, width]``, of vectors ``x [N, n]``: all nibbles, then all scales.

    Each group has the scale of least squared error among some below the one that clips nothing.
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
    """The integers and scales of bytes ``[..., width]``; ``count`` is a multiple of 32."""
    codes, scales = packed.split([count // 2, count // GROUP * 2], -1)
    nibbles = torch.stack([codes >> 4, codes & 15], -1).flatten(-2)
    # a pack's groups may start at any byte, a bfloat16 only at an even one
    own = scales.clone(memory_format=torch.contiguous_format)
    return Groups(nibbles.to(torch.int8) + SMALLEST, own.view(torch.bfloat16))


def group_levels(packed: torch.Tensor, count: int) -> torch.Tensor:
    """What bytes ``[..., width]`` stand for, per unit of step: float32 ``[..., count]``.

    Made of operators that ExecuTorch has: a bfloat16 is read through tables of its two bytes.
    """
    groups = -(-count // GROUP)
    codes, scales = packed.split([groups * GROUP // 2, groups * 2], -1)
    # a table of both nibbles of a byte
    byte = torch.arange(256)
    pairs = torch.stack([byte // 16, byte % 16], 1).float() + SMALLEST
    values = embedding(codes.to(torch.int32), pairs).flatten(-2).unflatten(-1, (groups, GROUP))
    low, high = (scales.unflatten(-1, (groups, 2)).to(torch.int32)[..., i] for i in (0, 1))
    # a positive bfloat16: the high byte has 7 bits of the exponent, the low one the last of them
    exponent = torch.exp2(2.0 * byte - 127)[:, None].clamp(max=1e30)
    mantissa = ((1 + byte // 128) * (1 + byte % 128 / 128))[:, None]
    size = embedding(high, exponent) * embedding(low, mantissa)
    return (values * size).flatten(-2)[..., :count]
