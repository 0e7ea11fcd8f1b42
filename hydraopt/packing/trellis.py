"""Trellis codes of 1, 2 and 4 bits per value: a byte's values also depend on the previous byte.

A byte decodes to ``d = 8 / bits`` values: its row of a table ``current [256, d]`` plus the previous
byte's row of a table ``previous [256, d]``, two lookups and an addition. The bytes of a vector form
a ring: the last precedes the first. This is vector quantisation with a memory of one byte, encoded
by a Viterbi search. Squared error of a unit Gaussian (scalar quantisation; Shannon's bound): 0.29
(0.36; 0.25) at 1 bit, 0.077 (0.119; 0.0625) at 2 bits, 0.0051 (0.0115; 0.0039) at 4 bits. QTIP
(arXiv 2406.11235) codes weights with a trellis that advances by bits; this one advances by bytes,
which decodes without shifts.

The tables are part of the codec, see ``CODEC`` in formats/codes.py;
``tests/benchmarks/train_trellis.py`` trained them.
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
# With other tables every pack decodes to nonsense, which no other check would detect.
TABLES_SHA256 = "cee2c504739ce4267ea40533160dfd18f2b62ee918987a11c09cd98aac26f93b"
SEAM = 4  # bytes on each side of the ring's seam that determine its state
MEMORY = 1 << 27  # bytes of a search's table


class Tables(NamedTuple):
    """Values ``[256, d]`` by current and by previous byte, float32, for a unit Gaussian."""

    current: torch.Tensor
    previous: torch.Tensor


@cache
def tables(bits: int) -> Tables:
    """Return the codec's tables for 1, 2 or 4 bits; errors as :func:`read_tables`."""
    stored = read_tables(TABLES)
    return Tables(stored[f"current.{bits}"].float(), stored[f"previous.{bits}"].float())


def read_tables(path: Path) -> Mapping[str, torch.Tensor]:
    """Read the codec's tables by name, float16 ``[256, d]``.

    Raises:
        BundleError: the file is missing or does not hold the codec's tables.
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
    """Decode codes ``[..., width]`` to values ``[..., width * d]``."""
    current = packed.to(torch.int32)
    before = torch.cat([current[..., -1:], current[..., :-1]], -1)
    return (embedding(current, table.current) + embedding(before, table.previous)).flatten(-2)


def search(x: torch.Tensor, table: Tables) -> torch.Tensor:
    """Return the codes, uint8 ``[N, width]``, nearest to ``x [N, n]`` of mean square 1."""
    d = table.current.shape[1]
    groups = torch.nn.functional.pad(x, (0, -x.shape[1] % d)).unflatten(1, (-1, d))
    rows = max(1, MEMORY // (4 * 256 * groups.shape[1]))
    return torch.cat([_ring(part, table) for part in groups.split(rows)])


def _ring(x: torch.Tensor, table: Tables) -> torch.Tensor:
    """Choose the last byte by a search around the seam, then search the ring from it."""
    half = min(SEAM, x.shape[1])
    around = torch.arange(-half, half) % x.shape[1]
    seam = _viterbi(x[:, around], table, None)[:, half - 1].long()
    return _viterbi(x, table, seam)


def _viterbi(x: torch.Tensor, table: Tables, seam: torch.Tensor | None) -> torch.Tensor:
    """Return the bytes of least squared error for ``x [N, width, d]``; ``seam [N]`` is the last.

    The error of d values is ``|x - C_c|^2 + |x - P_p|^2 + 2 <P_p, C_c> - |x|^2`` for the current
    byte c and the previous byte p.
    """
    from .viterbi import best_bytes  # decoding does not need numba

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
