"""Codes of 1, 2, 4, 8 or 16 bits: vectors to bytes and back.

A vector ``x [n]`` is stored as packed codes and one step, and decodes as ``value(code) * step``.
With 4 bits and more, ``value(c) = c - (2^b - 1) / 2``: uniform mid-rise levels.

With 1 and 2 bits the codes are a trellis code (bit-shift trellis: QTIP, arXiv 2406.11235, section
3.1). The value of an element depends on the 8 bits that *end* with its own code, so that it can
take 256 values instead of 2 or 4, while a Viterbi search picks the best of all bit strings. The
vector's bits form a ring: before the first come the last. The value of a window w of 8 bits is
computed rather than looked up: ``h = (a w) mod 256`` scatters the windows, ``t = (h - 127.5) /
127.5``, and ``t + t^3`` bends uniform levels towards Gaussian ones. The squared error of a unit
Gaussian is .29 at 1 bit and .08 at 2 bits, where single codes leave .36 and .12.
"""

import torch

BITS = (1, 2, 4, 8, 16)
# Relative squared error for Gaussian vectors of 128 elements.
DISTORTION = {1: 0.29, 2: 0.081, 4: 0.0117, 8: 5e-5, 16: 1e-9}

WINDOW = 8
MULTIPLIER = {1: 147, 2: 67}  # of least distortion among all odd ones
SPREAD = {1: 0.88, 2: 1.0}  # root mean square of the values for a unit Gaussian
SEARCH_BYTES = 1 << 26  # of the survivors of one Viterbi search

GAUSSIAN_STEP_4 = 0.335
FITS = 6
STEPS_PER_OCTAVE = 16  # neighbours differ by 4.4 %; 256 of them span 16 octaves
TINY = 1e-20


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of ``count`` codes of ``bits``; every vector starts on a byte."""
    return -(-count * bits // 8)


def pack(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes, int32 ``[..., n]``, as bytes ``[..., packed_bytes(n, bits)]``, high bits first.

    16-bit codes make two planes: all high bytes, then all low bytes.
    """
    if bits == 16:
        return torch.cat([codes >> 8, codes & 255], -1).to(torch.uint8)
    padded = torch.nn.functional.pad(codes, (0, -codes.shape[-1] % (8 // bits)))
    groups = padded.unflatten(-1, (-1, 8 // bits))
    return (groups << _shifts(bits)).sum(-1, dtype=torch.uint8)


def levels(
    packed: torch.Tensor, bits: int, count: int, table: torch.Tensor | None = None
) -> torch.Tensor:
    """What packed bytes ``[n, width]`` stand for, per unit of step: float32 ``[n, count]``.

    Made of operators that ExecuTorch has. ``table`` is :func:`byte_table`'s, made here if missing.
    """
    if bits == 16:
        high, low = packed[:, :count].to(torch.float32), packed[:, count:].to(torch.float32)
        return high * 256 + (low - 32767.5)
    if bits == 8:
        return packed.to(torch.float32) - 127.5
    index = packed.to(torch.int32)
    if bits in MULTIPLIER:
        before = torch.cat([index[:, -1:], index[:, :-1]], 1)
        index = torch.bitwise_and(before, (1 << (8 - bits)) - 1) * 256 + index
    table = byte_table(bits, torch.zeros(1, dtype=torch.int32)) if table is None else table
    found = torch.nn.functional.embedding(index, table).flatten(1)
    return found if found.shape[1] == count else found[:, :count]


def byte_table(bits: int, zero: torch.Tensor) -> torch.Tensor:
    """The levels of each byte, for 1, 2 or 4 bits: float32 ``[rows, 8 / bits]``.

    A row is the byte, and of a trellis code also the ``8 - bits`` bits before it. ``zero`` is an
    int32 0: where it comes from a program's input, the table is computed there and not stored.
    """
    if bits == 4:
        rows = torch.arange(256, dtype=torch.int32) + zero
        return _shifted(rows, bits, 15).to(torch.float32) - 7.5
    rows = torch.arange(1 << (16 - bits), dtype=torch.int32) + zero
    return _scatter(_shifted(rows, bits, 255), bits)


def encode(x: torch.Tensor, bits: int, top: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Packed bytes and steps, both uint8, of the vectors ``x [N, n]``.

    With 1 and 2 bits the step is such that ``<x, decoded> = <x, x>``: codes of least squared
    error would shrink the vector (by 29 % at 1 bit), the same way in every layer.
    """
    if bits in MULTIPLIER:
        packed = _search(x, bits)
        kept = (x * levels(packed, bits, x.shape[-1])).sum(-1)
        step = torch.where(kept > 0, x.square().sum(-1) / kept.clamp_min(TINY), TINY)
        return packed, encode_step(step, top)
    step = encode_step(_fit_step(x, bits), top)
    highest = 2**bits - 1
    codes = (x / decode_step(step, top)[:, None] + highest / 2).round().clamp(0, highest)
    return pack(codes.int(), bits), step


def decode(
    packed: torch.Tensor, step: torch.Tensor, bits: int, count: int, top: float
) -> torch.Tensor:
    """The inverse of :func:`encode`, float32 ``[N, count]``."""
    return levels(packed, bits, count) * decode_step(step, top)[..., None]


def encode_step(step: torch.Tensor, top: float) -> torch.Tensor:
    """Steps as uint8: the nearest of ``top * 2^((c - 255) / 16)``."""
    octaves = torch.log2(step.clamp_min(TINY) / top)
    return (255 + STEPS_PER_OCTAVE * octaves).round().clamp(0, 255).to(torch.uint8)


def step_table() -> torch.Tensor:
    """``2^((c - 255) / 16)`` of every byte c, float32 ``[256, 1]``."""
    return torch.exp2((torch.arange(256.0) - 255) / STEPS_PER_OCTAVE)[:, None]


def largest_step(x: torch.Tensor, bits: int) -> float:
    """The largest step that :func:`encode` would choose for the vectors ``x [N, n]``."""
    return float(_fit_step(x, bits).max())


def decode_step(codes: torch.Tensor, top: float) -> torch.Tensor:
    """The inverse of :func:`encode_step`, float32."""
    return top * torch.exp2((codes.float() - 255) / STEPS_PER_OCTAVE)


def _shifts(bits: int) -> torch.Tensor:
    return torch.arange(8 - bits, -1, -bits, dtype=torch.int32)


def _shifted(rows: torch.Tensor, bits: int, mask: int) -> torch.Tensor:
    shifted = torch.bitwise_right_shift(rows[:, None], _shifts(bits))
    return torch.bitwise_and(shifted, mask)


def _scatter(windows: torch.Tensor, bits: int) -> torch.Tensor:
    t = torch.bitwise_and(windows * MULTIPLIER[bits], 255).to(torch.float32) / 127.5 - 1
    return t + t * t * t


def _fit_step(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Steps ``[N]`` of uniform levels: of least squared error at 4 bits, without clipping above."""
    highest = 2**bits - 1
    if bits > 4:  # half a grid point more, since the step is rounded
        return x.abs().amax(-1) * (2 / highest * 2 ** (0.5 / STEPS_PER_OCTAVE)) + TINY
    step = GAUSSIAN_STEP_4 * x.square().mean(-1, keepdim=True).sqrt() + TINY
    for _ in range(FITS):
        q = (x / step + highest / 2).round().clamp(0, highest) - highest / 2
        step = (x * q).sum(-1, keepdim=True) / q.square().sum(-1, keepdim=True) + TINY
    return step[:, 0]


def _search(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Packed bytes of the trellis codes that are nearest to ``x [N, n]`` in direction."""
    count = x.shape[-1]
    x = torch.nn.functional.pad(x, (0, -count % (8 // bits)))  # the ring has whole bytes
    scale = x.square().sum(-1, keepdim=True).div(count).sqrt() + TINY
    size = max(1, SEARCH_BYTES // (x.shape[-1] * (256 >> bits)))
    codes = [_tail_biting(part, bits) for part in (x / scale).split(size)]
    return pack(torch.cat(codes), bits)


def _tail_biting(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes of the ring: a first pass from the opposite side finds the state to start and end in."""
    half = x.shape[-1] // 2
    opposite = _viterbi(x.roll(half, -1), bits, None)
    state = opposite[:, half] >> bits
    return _viterbi(x, bits, state) & (1 << bits) - 1


def _viterbi(x: torch.Tensor, bits: int, state: torch.Tensor | None) -> torch.Tensor:
    """Windows, int64 ``[N, n]``, of least squared error; from ``state [N]`` to it, or from any.

    A state is the last ``8 - bits`` bits; state and code make the window; its low bits are the
    next state. Windows with the same next state compete.
    """
    n, states, moves = x.shape[-1], 256 >> bits, 1 << bits
    table = _scatter(torch.arange(256), bits)
    table *= SPREAD[bits] / table.square().mean().sqrt()
    square, slope = table.square(), -2 * table
    cost = x.new_zeros(len(x), states)
    if state is not None:
        cost.fill_(torch.inf).scatter_(1, state[:, None], 0)
    best = torch.empty(n, len(x), states, dtype=torch.uint8)
    for i in range(n):
        costs = torch.addcmul(square, x[:, i : i + 1], slope).unflatten(1, (states, moves))
        costs += cost[..., None]
        cost, origin = costs.view(-1, moves, states).min(1)
        best[i] = origin
    last = cost.argmin(1) if state is None else state
    windows = torch.empty(len(x), n, dtype=torch.int64)
    for i in range(n - 1, -1, -1):
        windows[:, i] = best[i].gather(1, last[:, None])[:, 0].long() * states + last
        last = windows[:, i] >> bits
    return windows
