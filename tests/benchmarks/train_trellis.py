"""Train the tables of ``trellis.py`` on Gaussian noise.

    python tests/benchmarks/train_trellis.py -o FILE

Lloyd's algorithm alternates between the best codes for the tables and the least-squares tables for
the codes, for about half an hour on one core. New tables are a new codec with another hash in
``trellis.py``; older packs cannot be unpacked with them. See docs/new-codec.md.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import save_file
from tqdm import tqdm

from hydraopt.packing.codec import TRELLIS_BITS
from hydraopt.packing.trellis import Tables, search, trellis_values

WIDTH = 32  # bytes of a training vector
VECTORS = 2400
ROUNDS = 80
PULL = 0.02  # towards the tables before: a byte pair that is rare in the sample moves little


def train(d: int, rounds: int, vectors: int) -> Tables:
    """Tables of d values per byte, for vectors of unit Gaussians."""
    generator = torch.Generator().manual_seed(8 // d)
    table = Tables(*(torch.randn(2, 256, d, generator=generator) * 0.6))
    bar = tqdm(range(rounds), desc=f"{8 / d:g} bit", disable=None)
    for _ in bar:
        x = torch.randn(vectors, WIDTH * d, generator=generator)
        packed = search(x, table)
        bar.set_postfix(error=float((trellis_values(packed, table) - x).square().mean()))
        table = _fit(x, packed, table)
    return table


def _fit(x: torch.Tensor, packed: torch.Tensor, table: Tables) -> Tables:
    """Least squares: ``x = current[byte] + previous[byte before]``."""
    targets = x.reshape(packed.numel(), -1)
    bytes_ = packed.flatten().long()
    before = packed.roll(1, -1).flatten().long()
    ones = torch.ones(len(bytes_))
    gram = torch.zeros(512, 512)
    for i, first in enumerate((bytes_, before)):
        for j, second in enumerate((bytes_, before)):
            index = (first + 256 * i, second + 256 * j)
            gram.index_put_(index, ones, accumulate=True)
    sums = torch.zeros(512, targets.shape[1])
    sums.index_add_(0, bytes_, targets).index_add_(0, before + 256, targets)
    pull = PULL * len(bytes_) / 512
    sums += pull * torch.cat(table)
    fitted = torch.linalg.solve(gram + pull * torch.eye(512), sums)
    return Tables(*fitted.split(256))


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    rounds: int = ROUNDS,
    vectors: int = VECTORS,
) -> None:
    """Train the tables for 1, 2 and 4 bits; store them in fp16."""
    tensors: dict[str, torch.Tensor] = {}
    for bits in TRELLIS_BITS:
        current, previous = train(8 // bits, rounds, vectors)
        tensors |= {f"current.{bits}": current.half(), f"previous.{bits}": previous.half()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, output)


if __name__ == "__main__":
    typer.run(main)
