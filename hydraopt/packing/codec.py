"""Encode vectors with 1, 2, 4, 4.5, 8 or 16 bits per value, and decode them.

A vector ``x [n]`` is stored as bytes and a step, and decodes as ``levels(bytes) * step``. The step
is a byte on a logarithmic grid below the layout's largest step. Up to 4 bits, the levels are
a trellis code's (``trellis.py``); with 4.5 and 8 bits they are a quantised layer's, int4 in groups
(``groups.py``) and int8; with 16 bits they are fp16 (``halves.py``).
"""

from typing import NamedTuple

import torch

from ..formats.codes import GROUPED
from .groups import TINY, encode_groups, group_levels
from .halves import LARGEST, encode_halves, half_levels
from .trellis import Tables, search, tables, trellis_values

TRELLIS_BITS = (1, 2, 4)
STEPS_PER_OCTAVE = 16  # neighbours differ by 4.4 %; 255 steps span 16 octaves
ZERO = 128  # code of the int8 value 0
ROUND_UP = 2 ** (0.5 / STEPS_PER_OCTAVE)  # makes the nearest step on the grid not smaller


class Coded(NamedTuple):
    """Coded vectors: codes, uint8 ``[..., width]``, and steps, uint8 ``[...]``."""

    codes: torch.Tensor
    step: torch.Tensor


def encode(x: torch.Tensor, bits: float, largest_step: float) -> Coded:
    """Encode the vectors ``x [N, n]``; no step exceeds ``largest_step``.

    The step of a trellis code makes ``<x, decoded> = <x, x>``. Codes of least squared error would
    shrink x (1 bit: by 29 %) in every layer, towards the base model; noise averages out, but a
    shrunken delta does not.
    """
    if bits == GROUPED:
        return _encode_grouped(x, largest_step)
    if bits == 16:
        return _encode_halves(x, largest_step)
    if bits == 8:
        return _encode_bytes(x, largest_step)
    power = x.square().mean(-1, keepdim=True)
    codes = search(x / (power.sqrt() + TINY), tables(bits))
    kept = (x * levels(codes, bits, x.shape[-1])).mean(-1)
    steps = torch.where(kept > 0, power[:, 0] / kept.clamp_min(TINY), 0)
    return Coded(codes, encode_steps(steps, largest_step))


def decode(coded: Coded, bits: float, count: int, largest_step: float) -> torch.Tensor:
    """Decode vectors of ``count`` values, float32 ``[..., count]``."""
    return levels(coded.codes, bits, count) * decode_steps(coded.step, largest_step)[..., None]


def levels(
    packed: torch.Tensor, bits: float, count: int, trellis: Tables | None = None
) -> torch.Tensor:
    """Decode codes ``[..., width]`` to levels, float32 ``[..., count]``; values are levels * step.

    Only operators that ExecuTorch supports are used. ``trellis`` are the codec's tables, loaded
    by default.
    """
    if bits in TRELLIS_BITS:
        values = trellis_values(packed, trellis or tables(bits))
        return values if values.shape[-1] == count else values[..., :count]
    if bits == GROUPED:
        return group_levels(packed, count)
    if bits == 8:
        return packed.to(torch.float32) - ZERO
    return half_levels(packed, count)


def encode_steps(steps: torch.Tensor, largest_step: float) -> torch.Tensor:
    """Return uint8 codes c of the nearest ``largest_step * 2^((c - 255) / 16)``; 0 is zero."""
    octaves = torch.log2(steps.clamp_min(TINY) / largest_step)
    return (255 + STEPS_PER_OCTAVE * octaves).round().clamp(0, 255).to(torch.uint8)


def step_table() -> torch.Tensor:
    """Return ``2^((c - 255) / 16)`` of every byte c, 0 for c = 0; float32 ``[256, 1]``."""
    table = torch.exp2((torch.arange(256.0) - 255) / STEPS_PER_OCTAVE)
    table[0] = 0
    return table[:, None]


def decode_steps(codes: torch.Tensor, largest_step: float) -> torch.Tensor:
    """Decode steps, float32: the inverse of :func:`encode_steps`."""
    return largest_step * step_table()[:, 0][codes.long()]


def scaled(coded: Coded, gain: torch.Tensor, largest_step: float) -> Coded:
    """Multiply vectors by ``gain``, by changing their steps."""
    return coded._replace(
        step=encode_steps(decode_steps(coded.step, largest_step) * gain, largest_step)
    )


def _encode_grouped(x: torch.Tensor, largest_step: float) -> Coded:
    """Encode with a power of two as step, so that scale * step stays a bfloat16."""
    steps = encode_steps(
        torch.exp2(torch.log2(x.square().mean(-1).sqrt() + TINY).floor()), largest_step
    )
    octave = STEPS_PER_OCTAVE
    steps = (steps.int() - 255).div(octave, rounding_mode="floor") * octave + 255
    steps = steps.clamp(255 % octave, 255).to(torch.uint8)
    return Coded(encode_groups(x / decode_steps(steps, largest_step)[:, None]), steps)


def _encode_bytes(x: torch.Tensor, largest_step: float) -> Coded:
    """Encode as int8, -127 to 127 times a step that covers the range of x."""
    steps = encode_steps(x.abs().amax(-1) * ROUND_UP / 127, largest_step)
    size = decode_steps(steps, largest_step)[:, None].clamp_min(TINY)
    return Coded((ZERO + (x / size).round().clamp(-127, 127)).to(torch.uint8), steps)


def _encode_halves(x: torch.Tensor, largest_step: float) -> Coded:
    """Encode as fp16; steps are ``largest_step`` times powers of two, so fp16 input stays exact.

    The step is the smallest without overflow, to keep subnormal values few.
    """
    octaves = torch.log2((x.abs().amax(-1) / largest_step).clamp_min(TINY)).floor() - 14
    steps = (255 + STEPS_PER_OCTAVE * octaves.clamp(-15, 0)).to(torch.uint8)
    levels = x / decode_steps(steps, largest_step)[:, None]
    return Coded(encode_halves(levels.clamp(-LARGEST, LARGEST)), steps)
