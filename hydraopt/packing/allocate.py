"""Allocate bits to the directions of each module: one layout for all tasks.

A module's delta is coded as ``D_t ~ sum_j b_tj a_j``. The first rows ``a_j`` are shared by all
tasks, the others are private, and so are columns. A direction of energy ``e`` (mean over tasks)
whose row and column are coded without bias and with relative squared errors x and y has noise
``e (1 / ((1 - x) (1 - y)) - 1)``; an omitted direction costs ``MISSING e``. For a Lagrange
multiplier l and a module weight w, each direction takes the bits that minimise ``w cost + l
bytes``, and each module the number of shared rows with the least sum.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from ..adapters import AdapterSet
from ..errors import MergeError
from ..factors import Stack
from ..formats.codes import GROUPED, packed_bytes
from ..formats.layout import Code, Direction, ModuleLayout

# Relative squared error of coded Gaussian vectors. 16 bits are only for factors stored exactly: 8
# bits leave a relative error of 0.7 %, which affects no metric.
DISTORTION = {1: 0.295, 2: 0.077, 4: 0.0051, GROUPED: 0.0075, 8: 5e-5}
# A module's shared rows become one layer of a quantised program, so they all have the same bits,
# with which the layer holds them exactly or almost.
SHARED_BITS = (GROUPED, 8)
PRIVATE_BITS = (1, 2, 4, 8)

MULTIPLIERS = (1e-12, 1e12)
BISECTIONS = 40
FILL = tuple(0.97**i for i in range(1, 30))

# An omitted direction is a bias, which accumulates over layers; noise does not.
MISSING = 2.0
# Training adds a sum of layer inputs to the initial A that tasks have in common, so inputs are
# strong along the directions in which tasks differ (on the zoo, 3 to 6 times the mean).
RESIDUAL_WEIGHT = 0.3
LARGEST_ROW_STEP = 4.0  # rows have a mean square of 1
HEADROOM = 16.0  # largest column step, relative to the largest root mean square of a delta


class Choice(NamedTuple):
    """Bits of a row and a column."""

    row: float
    column: int

    @property
    def cost(self) -> float:
        """Cost of a direction with these bits, relative to its energy."""
        if not self.row:
            return MISSING
        return 1 / ((1 - DISTORTION[self.row]) * (1 - DISTORTION[self.column])) - 1


CHOICES = (
    Choice(0, 0),
    *itertools.starmap(Choice, itertools.product(DISTORTION, PRIVATE_BITS)),
)


@dataclass(frozen=True)
class Spectrum:
    """The input of the allocation for one module.

    Attributes:
        shape: ``(out, in)``.
        tasks: number of tasks T.
        weight: weight of an error in this module.
        largest_step: largest step of a column.
        rows: candidates for shared rows, best first, float32 ``[n, in]`` of mean square 1.
        counts: options for the number of shared rows.
        energies: per option, energies of the shared rows and then of the best private directions
            for the remainder, ``[options, R]``, padded with zeros.
    """

    shape: tuple[int, int]
    tasks: int
    weight: float
    largest_step: float
    rows: torch.Tensor
    counts: tuple[int, ...]
    energies: torch.Tensor

    @classmethod
    def from_adapters(
        cls, adapters: AdapterSet, module: str, *, mixable: bool = False
    ) -> "Spectrum":
        """Compute the spectrum of one module; without private directions if ``mixable``."""
        tasks, rank = len(adapters.tasks), adapters.max_rank
        stack = adapters.stack(module)
        coords, basis = stack.split_a()
        norms = _squared_norms(stack, tasks)
        root, inverse = _metric(stack, coords, rank)
        coords = coords @ root
        values, vectors = torch.linalg.eigh(_second_moment(stack, coords))
        values, vectors = values.flip(0).clamp_min(0) / tasks, vectors.flip(1)
        most = min(3 * rank, len(values))
        counts: tuple[int, ...]
        if mixable:
            counts, energies = (most,), values[None, :most]
        else:
            private = _private_energies(stack, coords)
            counts = tuple(range(0, most + 1, max(1, rank // 4)))
            options = [
                torch.cat([values[:count], private(vectors[:, :count]) / tasks]) for count in counts
            ]
            energies = torch.nn.utils.rnn.pad_sequence(options, batch_first=True)
        rows = vectors[:, :most].T @ inverse @ basis
        rows /= rows.square().mean(1, keepdim=True).sqrt()
        out, width = adapters.shapes[module]
        size = float((norms.max() / (out * width)).sqrt())
        largest_step = 2.0 ** math.ceil(math.log2(max(size, 1e-12) * HEADROOM))
        weight = max(float(norms.mean()), 1e-30) ** -0.5
        return cls((out, width), tasks, weight, largest_step, rows.float(), counts, energies)

    def best(self, multiplier: float) -> ModuleLayout:
        """Return the nonempty layout of least weighted cost + ``multiplier`` * bytes."""
        cost, prices = self._prices
        costs = self.energies[:, None, :, None] * cost + multiplier * prices
        costs[:, :, 0, 0] = torch.inf
        least = costs.flatten(0, 1).min(2)
        best = int(least.values.sum(1).argmin())
        option = best // len(SHARED_BITS)
        chosen = [CHOICES[index] for index in least.indices[best].tolist()]
        directions = [
            Direction(Code(x.row, place < self.counts[option]), Code(x.column))
            for place, x in enumerate(chosen)
            if x.row
        ]
        return ModuleLayout(self.shape, tuple(directions), (LARGEST_ROW_STEP, self.largest_step))

    @cached_property
    def _prices(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted cost ``[C]`` of every choice, and its bytes ``[options, SHARED_BITS, R, C]``.

        A choice that is not allowed for a direction has infinitely many bytes.
        """
        out, width = self.shape
        rows, columns = (
            torch.tensor([packed_bytes(n, x[side]) + 1 if x[side] else 0 for x in CHOICES])
            for side, n in enumerate((width, out))
        )
        bits = torch.tensor([x.row for x in CHOICES])
        shared = torch.stack(
            [torch.where(_any_of(bits, [b, 0]), rows, torch.inf) for b in SHARED_BITS]
        )
        private = torch.where(_any_of(bits, [*PRIVATE_BITS, 0]), self.tasks * rows, torch.inf)
        place = torch.arange(self.energies.shape[1]) < torch.tensor(self.counts)[:, None]
        prices = (
            torch.where(place[:, None, :, None], shared[:, None], private) + self.tasks * columns
        )
        cost = torch.tensor([x.cost for x in CHOICES], dtype=torch.float64) * self.weight
        return cost, prices


def _any_of(bits: torch.Tensor, wanted: Sequence[float]) -> torch.Tensor:
    return torch.isin(bits, torch.tensor(wanted, dtype=bits.dtype))


def _second_moment(stack: Stack, coords: torch.Tensor) -> torch.Tensor:
    """``sum_t D_tᵀ D_t`` in coordinates, ``[p, p]``."""
    same = stack.owner[:, None] == stack.owner
    return coords.T @ ((stack.b.T @ stack.b) * same) @ coords


def _squared_norms(stack: Stack, tasks: int) -> torch.Tensor:
    """``||D_t||^2``, ``[T]``."""
    same = stack.owner[:, None] == stack.owner
    products = (stack.b.T @ stack.b) * (stack.a @ stack.a.T) * same
    return products.new_zeros(tasks).index_add_(0, stack.owner, products.sum(1))


def _metric(stack: Stack, coords: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return square root and inverse square root ``[p, p]`` of ``C = 0.7 I + 0.3 N``.

    N is the second moment of the residual after the best ``rank`` shared rows, scaled to trace p.
    """
    moment = _second_moment(stack, coords)
    missed = torch.linalg.eigh(moment).eigenvectors[:, : max(len(moment) - rank, 0)]
    moment = missed @ (missed.T @ moment @ missed) @ missed.T
    scale = len(moment) / moment.trace().clamp_min(1e-30)
    values, vectors = torch.linalg.eigh(moment * scale * RESIDUAL_WEIGHT)
    roots = (values.clamp_min(0) + 1 - RESIDUAL_WEIGHT).sqrt()
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T


def _private_energies(stack: Stack, coords: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function of shared directions ``[p, n]``: the energies of private directions.

    They are the squared singular values of each task's residual, summed over tasks. With
    ``B = Q R`` and A' the residual of A, these are the eigenvalues of ``R A' A'ᵀ Rᵀ``.
    """
    parts = [stack.owner == task for task in stack.owner.unique()]
    lefts = [torch.linalg.qr(stack.b[:, mine]).R for mine in parts]
    sums = [left @ coords[mine] for left, mine in zip(lefts, parts, strict=True)]
    grams = [part @ part.T for part in sums]

    def energies(seen: torch.Tensor) -> torch.Tensor:
        total = coords.new_zeros(max(map(len, sums)))
        for part, gram in zip(sums, grams, strict=True):
            shared = part @ seen
            values = torch.linalg.eigvalsh(gram - shared @ shared.T).flip(0).clamp_min(0)
            total[: len(values)] += values
        return total

    return energies


def allocate(
    spectra: Mapping[str, Spectrum],
    limit: int,
    stored: Callable[[Mapping[str, ModuleLayout]], int],
) -> dict[str, ModuleLayout]:
    """Return the layout of all modules within ``limit`` bytes, by bisection of the multiplier.

    Args:
        spectra: module -> spectrum.
        limit: byte budget.
        stored: computes the total bytes of a layout.

    Raises:
        MergeError: ``limit`` is below the bytes of the smallest layout.
    """

    def layout_at(multiplier: float) -> dict[str, ModuleLayout]:
        return {module: spectrum.best(multiplier) for module, spectrum in spectra.items()}

    low, high = MULTIPLIERS
    layout = layout_at(high)
    if (smallest := stored(layout)) > limit:
        raise MergeError(
            f"the budget is {int(limit):,} bytes, expected at least {smallest:,}: one "
            "direction per module, with a 1-bit column for each task"
        )
    for _ in range(BISECTIONS):
        middle = (low * high) ** 0.5
        candidate = layout_at(middle)
        if stored(candidate) > limit:
            low = middle
        else:
            high, layout = middle, candidate
    # A module's layout changes in jumps: spend the remaining bytes on modules that still fit.
    used = stored(layout)
    for factor in FILL:
        for module, spectrum in spectra.items():
            better = spectrum.best(high * factor)
            if (
                better != layout[module]
                and used < (size := stored(layout | {module: better})) <= limit
            ):
                layout, used = layout | {module: better}, size
    return layout
