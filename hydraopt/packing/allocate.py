"""How many bits each rank-one direction of each module gets: one layout for all tasks.

A module's delta is coded as ``D_t ~ sum_j b_tj a_j``. The first directions' rows ``a_j`` are
shared by all tasks, the others' are private; columns are private. A direction that carries the
energy ``e`` (mean over tasks) and is coded with relative squared errors x (row) and y (column),
without a bias, gets noise of ``e (1 / ((1 - x) (1 - y)) - 1)``. Left out, it costs ``MISSING e``.
With the Lagrange multiplier l, every direction takes the bits of least ``w cost + l bytes``, w being
the module's weight, and every module the number of shared rows of least sum.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from ..adapters import AdapterSet
from ..errors import MergeError
from ..merging.coordinates import Stack
from .codec import DISTORTION, packed_bytes
from .layout import Code, Direction, ModuleLayout

MULTIPLIERS = (1e-12, 1e12)
BISECTIONS = 40
FILL = tuple(0.97**i for i in range(1, 30))

# A missing direction is a bias, which adds up from layer to layer; noise does not.
MISSING = 2.0
# What training added to a common initial A is a sum of layer inputs: inputs are strong along the
# directions that tasks differ in (on the zoo, 3 to 6 times the mean).
RESIDUAL_WEIGHT = 0.3
MODULE_POWER = 0.5
ROW_TOP = 4.0  # rows have a mean square of 1
HEADROOM = 16.0  # of the largest column step, over the largest root mean square of a delta


class Choice(NamedTuple):
    """Bits of a row and a column, and the cost per energy of a direction that has them."""

    row: int
    column: int
    cost: float


CHOICES = (
    Choice(0, 0, MISSING),
    *(
        Choice(row, column, 1 / ((1 - DISTORTION[row]) * (1 - DISTORTION[column])) - 1)
        for row, column in itertools.product(DISTORTION, DISTORTION)
    ),
)
COSTS = np.array([choice.cost for choice in CHOICES])


@dataclass(frozen=True)
class Spectrum:
    """What the bits of one module depend on.

    Attributes:
        shape: ``(out, in)``.
        tasks: T.
        weight: of an error in this module.
        top: the largest step of a column.
        rows: candidates for shared rows, best first, ``[n, in]`` float32 of mean square 1.
        options: for each number of shared rows, the energies of these and of the best private
            directions for the rest.
    """

    shape: tuple[int, int]
    tasks: int
    weight: float
    top: float
    rows: torch.Tensor
    options: Mapping[int, tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, adapters: AdapterSet, module: str) -> "Spectrum":
        """Measure one module."""
        tasks, rank = len(adapters.tasks), adapters.max_rank
        stack = Stack.of(adapters, module)
        coords, basis = stack.split_a()
        energies = _squared_norms(stack, tasks)
        root, inverse = _metric(stack, coords, rank)
        coords = coords @ root
        values, vectors = torch.linalg.eigh(_second_moment(stack, coords))
        values, vectors = values.flip(0).clamp_min(0) / tasks, vectors.flip(1)
        most = min(3 * rank, len(values))
        private = _private_energies(stack, coords)
        options = {
            count: (values[:count].numpy(), (private(vectors[:, :count]) / tasks).numpy())
            for count in range(0, most + 1, max(1, rank // 4))
        }
        rows = vectors[:, :most].T @ inverse @ basis
        rows /= rows.square().mean(1, keepdim=True).sqrt()
        out, width = adapters.shapes[module]
        size = float((energies.max() / (out * width)).sqrt())
        top = 2.0 ** math.ceil(math.log2(max(size, 1e-12) * HEADROOM))
        weight = max(float(energies.mean()), 1e-30) ** -MODULE_POWER
        return cls((out, width), tasks, weight, top, rows.float(), options)

    def best(self, multiplier: float) -> ModuleLayout:
        """The layout of least weighted cost + ``multiplier`` * bytes; never an empty one."""
        picks = min((self._picks(count, multiplier) for count in self.options), key=lambda x: x[0])
        directions = [
            Direction(Code(choice.row, shared), Code(choice.column))
            for shared, picked in zip((True, False), picks[1], strict=True)
            for choice in (CHOICES[index] for index in picked)
            if choice.row
        ]
        return ModuleLayout(self.shape, tuple(directions), (ROW_TOP, self.top))

    def _picks(self, count: int, multiplier: float) -> tuple[float, list[np.ndarray]]:
        """Cost, and the choice of each of ``count`` shared directions and of the private ones."""
        total, picks = 0.0, []
        for energies, stored in zip(self.options[count], self._bytes, strict=True):
            costs = energies[:, None] * (COSTS * self.weight) + multiplier * stored
            if not picks or not count:
                costs[:1, 0] = np.inf  # never an empty layout
            picks.append(costs.argmin(1))
            total += costs.min(1).sum()
        return total, picks

    @cached_property
    def _bytes(self) -> tuple[np.ndarray, np.ndarray]:
        """Bytes of each choice for all tasks, of a shared and of a private direction."""
        out, width = self.shape
        rows = np.array([c.row and packed_bytes(width, c.row) + 1 for c in CHOICES])
        columns = np.array([c.row and packed_bytes(out, c.column) + 1 for c in CHOICES])
        return rows + self.tasks * columns, self.tasks * (rows + columns)


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
    """Square root and inverse root ``[p, p]`` of ``C = .7 I + .3 N``.

    N is the second moment of what the best ``rank`` shared rows miss, scaled to trace p.
    """
    moment = _second_moment(stack, coords)
    missed = torch.linalg.eigh(moment).eigenvectors[:, : max(len(moment) - rank, 0)]
    moment = missed @ (missed.T @ moment @ missed) @ missed.T
    scale = len(moment) / moment.trace().clamp_min(1e-30)
    values, vectors = torch.linalg.eigh(moment * scale * RESIDUAL_WEIGHT)
    roots = (values.clamp_min(0) + 1 - RESIDUAL_WEIGHT).sqrt()
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T


def _private_energies(stack: Stack, coords: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """For shared directions ``[p, n]``: sums over tasks of the rest's squared singular values.

    With ``B = Q R``, these are the eigenvalues of ``R A' A'ᵀ Rᵀ``, A' being what is left of A.
    """
    parts = [stack.owner == task for task in stack.owner.unique()]
    lefts = [torch.linalg.qr(stack.b[:, mine]).R for mine in parts]
    sums = [left @ coords[mine] for left, mine in zip(lefts, parts, strict=True)]
    grams = [part @ part.T for part in sums]

    def energies(seen: torch.Tensor) -> torch.Tensor:
        total = coords.new_zeros(max(map(len, sums)))
        for part, gram in zip(sums, grams, strict=True):
            found = part @ seen
            values = torch.linalg.eigvalsh(gram - found @ found.T).flip(0).clamp_min(0)
            total[: len(values)] += values
        return total

    return energies


def allocate(
    spectra: Mapping[str, Spectrum], limit: int, size: Callable[[str, ModuleLayout], int]
) -> dict[str, ModuleLayout]:
    """The layout of all modules that one multiplier gives for at most ``limit`` bytes.

    Args:
        spectra: module -> its spectrum.
        limit: bytes.
        size: bytes that a module's layout takes in all.

    Raises:
        MergeError: ``limit`` is below the smallest layout.
    """

    def layout_at(multiplier: float) -> dict[str, ModuleLayout]:
        return {module: spectrum.best(multiplier) for module, spectrum in spectra.items()}

    def stored(layout: Mapping[str, ModuleLayout]) -> int:
        return sum(size(module, x) for module, x in layout.items())

    low, high = MULTIPLIERS
    layout = layout_at(high)
    if (smallest := stored(layout)) > limit:
        raise MergeError(
            f"the budget leaves {limit:,} bytes for codes, expected at least {smallest:,}: one "
            "1-bit direction per module"
        )
    for _ in range(BISECTIONS):
        middle = (low * high) ** 0.5
        candidate = layout_at(middle)
        if stored(candidate) > limit:
            low = middle
        else:
            high, layout = middle, candidate
    return _filled(layout, spectra, high, limit - stored(layout), size)


def _filled(
    layout: dict[str, ModuleLayout],
    spectra: Mapping[str, Spectrum],
    multiplier: float,
    left: int,
    size: Callable[[str, ModuleLayout], int],
) -> dict[str, ModuleLayout]:
    """Spend what is left on modules that still fit: a layout jumps with the multiplier."""
    for factor in FILL:
        for module, spectrum in spectra.items():
            candidate = spectrum.best(multiplier * factor)
            more = size(module, candidate) - size(module, layout[module])
            if 0 < more <= left:
                layout, left = layout | {module: candidate}, left - more
    return layout
