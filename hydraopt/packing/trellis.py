"""Trellis codes of 1, 2 and 4 bits per value: each byte's values depend on the byte before it.

A byte stands for ``d = 8 / bits`` values: row ``byte`` of a table ``current [256, d]`` plus row
``byte before`` of a table ``previous [256, d]``, two lookups and an addition. The bytes of a vector
form a ring: before the first comes the last. This is vector quantisation with a memory of one
byte; a Viterbi search over the bytes finds codes that neither scalar levels nor a single table
reach. Squared error of a unit Gaussian (scalar levels; Shannon's bound): .29 (.36; .25) at 1 bit,
.077 (.119; .0625) at 2 bits, .0051 (.0115; .0039) at 4 bits. Trellis coding of weights: QTIP, arXiv
2406.11235, whose codes slide bit by bit; these slide by bytes, which decodes without shifts.

The tables are part of the codec, see ``CODEC`` in formats/codes.py; they were made by
``tests/benchmarks/train_trellis.py``.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load
from torch.nn.functional import embedding

from ..errors import BundleError

TABLES = Path(__file__).with_name("trellis.safetensors")
# With other tables every pack decodes to nonsense, and nothing else would notice.
TABLES_SHA256 = "cee2c504739ce4267ea40533160dfd18f2b62ee918987a11c09cd98aac26f93b"
SEAM = 4  # bytes on each side of the ring's seam that decide its state
MEMORY = 1 << 27  # bytes of one table of a search


class Tables(NamedTuple):
    """Values ``[256, d]`` by the current and by the previous byte, float32, for a unit Gaussian."""

    current: torch.Tensor
    previous: torch.Tensor


@cache
def tables(bits: int) -> Tables:
    """The codec's tables for 1, 2 or 4 bits. Errors as :func:`read_tables`."""
    stored = read_tables(TABLES)
    return Tables(stored[f"current.{bits}"].float(), stored[f"previous.{bits}"].float())


def read_tables(path: Path) -> Mapping[str, torch.Tensor]:
    """The codec's tables by name, float16 ``[256, d]``.

    Raises:
        BundleError: a missing file, or one whose bytes are not those of the codec.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read ({error.strerror or error}); install hydraopt again"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != TABLES_SHA256:
        raise BundleError(
            f"{path} is damaged: SHA-256 {digest}, expected {TABLES_SHA256}; install hydraopt again"
        )
    return load(content)


def trellis_values(packed: torch.Tensor, table: Tables) -> torch.Tensor:
    """Values ``[..., width * d]`` of bytes ``[..., width]``."""
    current = packed.to(torch.int32)
    before = torch.cat([current[..., -1:], current[..., :-1]], -1)
    return (embedding(current, table.current) + embedding(before, table.previous)).flatten(-2)


def search(x: torch.Tensor, table: Tables) -> torch.Tensor:
    """Bytes, uint8 ``[N, width]``, whose values are nearest to ``x [N, n]``, of mean square 1."""
    d = table.current.shape[1]
    groups = torch.nn.functional.pad(x, (0, -x.shape[1] % d)).unflatten(1, (-1, d))
    rows = max(1, MEMORY // (4 * 256 * groups.shape[1]))
    return torch.cat([_ring(part, table) for part in groups.split(rows)])


def _ring(x: torch.Tensor, table: Tables) -> torch.Tensor:
    """Fix the last byte by a search around the seam, then search from it to it."""
    half = min(SEAM, x.shape[1])
    around = torch.arange(-half, half) % x.shape[1]
    seam = _viterbi(x[:, around], table, None)[:, half - 1].long()
    return _viterbi(x, table, seam)


def _viterbi(x: torch.Tensor, table: Tables, seam: torch.Tensor | None) -> torch.Tensor:
    """Bytes of least squared error for ``x [N, width, d]``, from byte ``seam [N]`` to it.

    A group's error is ``|x - C_c|^2 + |x - P_p|^2 + 2 <P_p, C_c> - |x|^2``, c being the current
    byte and p the previous one.
    """
    from .viterbi import best_bytes  # decoding does without a compiler

    current, previous = table
    by_current = current.square().sum(1) - 2 * x @ current.T
    by_previous = previous.square().sum(1) - 2 * x @ previous.T
    both = 2 * previous @ current.T
    if seam is None:
        seam = torch.full((len(x),), -1)
    codes = best_bytes(
        by_current.numpy(),
        by_previous.numpy(),
        both.numpy(),
        seam.numpy(),
        threads=torch.get_num_threads(),
    )
    return torch.from_numpy(codes)
