"""Factors of other methods, coded within a byte budget: plain integers, or the trellis codes.

Only codes, scales and steps are counted, neither headers nor layouts.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from hydraopt.adapters import AdapterSet
from hydraopt.evaluation.plain import GROUP, SCALE_BYTES, rounded
from hydraopt.factors import Factors, cut, svd
from hydraopt.formats.codes import GROUPED, packed_bytes
from hydraopt.merging.hydraopt import hydraopt
from hydraopt.merging.jd_full import jd_full
from hydraopt.merging.private import private
from hydraopt.packing.codec import decode, encode
from hydraopt.stored import MergedAdapters, Side

LARGEST_STEP = 2.0**10
LARGEST_RANK = 64
ULTRA_LOW_GROUP = 128
BISECTIONS = 20


class Numbers(NamedTuple):
    """A format of numbers.

    Attributes:
        name: as it is shown.
        bits: of a value.
        trellis: whether vectors are the codec's, and those for all tasks int4 in groups.
        gain: whether ``<x, decoded> = <x, x>`` for every vector, as in the codec.
    """

    name: str
    bits: int
    trellis: bool = False
    gain: bool = False

    def bytes(self, count: int, length: int, *, shared: bool) -> int:
        """Bytes of some vectors."""
        if self.trellis:
            return count * (packed_bytes(length, self._of(shared)) + 1)
        return count * (-(-length * self.bits // 8) + -(-length // GROUP) * SCALE_BYTES)

    def rounded(self, x: torch.Tensor, *, shared: bool) -> torch.Tensor:
        """What vectors ``x [n, length]`` are decoded to."""
        if self.trellis:
            bits = self._of(shared)
            return decode(encode(x, bits, LARGEST_STEP), bits, x.shape[1], LARGEST_STEP)
        return unbiased(x, rounded(x, self.bits)) if self.gain else rounded(x, self.bits)

    def _of(self, shared: bool) -> float:
        return GROUPED if shared else self.bits


INTEGERS = (Numbers("int8", 8), Numbers("int4", 4))
FEW = (
    *(Numbers(f"int{bits}", bits) for bits in (3, 2)),
    *(Numbers(f"int{bits}, unbiased", bits, gain=True) for bits in (3, 2)),
)
TRELLIS = tuple(Numbers(f"our codes, {bits} bits", bits, trellis=True) for bits in (4, 2, 1))


def unbiased(x: torch.Tensor, decoded: torch.Tensor) -> torch.Tensor:
    """Scale vectors so that ``<x, decoded> = <x, x>``."""
    kept = (x * decoded).sum(1, keepdim=True)
    return decoded * torch.where(kept > 0, x.square().sum(1, keepdim=True) / kept, 1)


class Vectors(NamedTuple):
    """So many vectors of a length, of all tasks together or of each."""

    number: int
    length: int
    shared: bool


@dataclass(frozen=True)
class Family:
    """Merged adapters of any rank R.

    Attributes:
        merge: makes those of a rank.
        vectors: of one module, by its shape, number of tasks and rank.
        numbers: formats to store them in.
        largest: largest rank that gains anything.
    """

    merge: Callable[[AdapterSet, int], MergedAdapters]
    vectors: Callable[[tuple[int, int], int, int], list[Vectors]]
    numbers: tuple[Numbers, ...]
    largest: Callable[[AdapterSet], int] = lambda _: LARGEST_RANK

    def within(self, adapters: AdapterSet, limit: int) -> Iterator[tuple[str, "Coded"]]:
        """Yield adapters of the largest rank that fits, in each format in which one does."""
        for numbers in self.numbers:
            ranks = range(1, self.largest(adapters) + 1)
            sizes = {rank: self._bytes(adapters, rank, numbers) for rank in ranks}
            if fitting := [rank for rank, size in sizes.items() if size <= limit]:
                rank = max(fitting)
                merged = coded(self.merge(adapters, rank), numbers)
                yield f"R = {rank}, {numbers.name}", Coded(merged.task_factors, sizes[rank])

    def _bytes(self, adapters: AdapterSet, rank: int, numbers: Numbers) -> int:
        return sum(
            numbers.bytes(x.number, x.length, shared=x.shared)
            for shape in adapters.shapes.values()
            for x in self.vectors(shape, len(adapters.tasks), min(rank, *shape))
        )


class Coded(NamedTuple):
    """Each task's factors, and the bytes of all."""

    factors: Callable[[str], Mapping[str, Factors]]
    bytes: int


def coded(merged: MergedAdapters, numbers: Numbers) -> MergedAdapters:
    """Round all factors, along rows of A and columns of B, and all cores."""
    modules = {
        name: (_side(a, numbers, transposed=False), _side(b, numbers, transposed=True))
        for name, (a, b) in merged.modules.items()
    }
    return replace(merged, modules=modules)


def _side(side: Side, numbers: Numbers, *, transposed: bool) -> Side:
    stack, assignment = side.stack, side.assignment
    vectors = stack.transpose(1, 2) if transposed else stack
    decoded = numbers.rounded(vectors.flatten(0, 1).float(), shared=len(stack) == 1)
    decoded = decoded.view(vectors.shape)
    if assignment.dim() == 3:
        cores = numbers.rounded(assignment.flatten(1).float(), shared=False)
        assignment = cores.view(assignment.shape)
    return Side(decoded.transpose(1, 2) if transposed else decoded, assignment)


def _truncated(adapters: AdapterSet, rank: int) -> MergedAdapters:
    return private(
        AdapterSet(
            replace(x, factors={name: cut(f, rank).factors for name, f in x.factors.items()})
            for x in adapters.adapters
        )
    )


FAMILIES = {
    "HydraOpt, K = tasks": Family(
        lambda adapters, rank: hydraopt(adapters, rank=rank),
        lambda shape, tasks, r: [Vectors(r, shape[1], True), Vectors(tasks * r, shape[0], False)],
        (*INTEGERS, *TRELLIS),
    ),
    "JD-Full": Family(
        lambda adapters, rank: jd_full(adapters, rank=rank),
        lambda shape, tasks, r: [
            *(Vectors(r, length, True) for length in shape),
            Vectors(tasks, r * r, False),
        ],
        (*INTEGERS, *TRELLIS),
    ),
    "each adapter's SVD": Family(
        _truncated,
        lambda shape, tasks, r: [Vectors(tasks * r, length, False) for length in shape],
        (*INTEGERS, *FEW, *TRELLIS),
        lambda adapters: adapters.max_rank,
    ),
}


def mixed_precision(adapters: AdapterSet, limit: int) -> Iterator[tuple[str, Coded]]:
    """LoRAQuant's scheme (arXiv 2510.26690), without its tuning by gradients.

    The directions that hold most of each delta get 2 or 3 bits and the others 1, in groups of 128.
    The share to hold is the largest that fits.
    """
    parts = {
        adapter.name: {name: svd(f) for name, f in adapter.factors.items()}
        for adapter in adapters.adapters
    }
    for bits in (2, 3):
        low, high = 0.0, 1.0
        for _ in range(BISECTIONS):
            share = (low + high) / 2
            fits = _mixed_bytes(parts, share, bits) <= limit
            low, high = (share, high) if fits else (low, share)
        if (size := _mixed_bytes(parts, low, bits)) <= limit:
            decoded = {
                task: {name: _mixed(x, low, bits) for name, x in of_task.items()}
                for task, of_task in parts.items()
            }
            yield f"{bits} bits and 1, {low:.0%} of the energy", Coded(decoded.__getitem__, size)


def _important(values: torch.Tensor, share: float) -> int:
    """Number of singular values that hold a share of the energy."""
    held = values.square().cumsum(0) / values.square().sum().clamp_min(1e-30)
    return int((held < share).sum()) + 1 if share else 0


def _mixed_bytes(parts: Mapping, share: float, bits: int) -> int:
    total = 0.0
    for of_task in parts.values():
        for u, s, vh in of_task.values():
            first = min(_important(s, share), len(s))
            groups = sum(-(-n // ULTRA_LOW_GROUP) for n in (len(u), vh.shape[1]))
            values = (first * bits + len(s) - first) * (len(u) + vh.shape[1])
            total += values / 8 + len(s) * groups * SCALE_BYTES
    return int(total)


def _mixed(parts, share: float, bits: int) -> Factors:
    u, s, vh = parts
    first, root = _important(s, share), s.sqrt()
    a, b = root[:, None] * vh, root[:, None] * u.T
    return Factors(_levels(a, first, bits), _levels(b, first, bits).T.contiguous())


def _levels(x: torch.Tensor, first: int, bits: int) -> torch.Tensor:
    """Round the first rows to integers in groups of 128, the others to signs."""
    high = rounded(x[:first], bits, ULTRA_LOW_GROUP) if first else x[:0]
    low = [part.abs().mean(1, keepdim=True) * part.sign() for part in _groups(x[first:])]
    return torch.cat([high, torch.cat(low, 1)])


def _groups(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return x.split(ULTRA_LOW_GROUP, 1)
