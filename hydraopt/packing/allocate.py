"""Allocate bits to the directions of each module: one layout for all tasks.

A module's delta is coded as ``D_t ~ sum_j b_tj a_j``. The first rows ``a_j`` are shared by all
tasks, the others are private, and so are columns. A direction of energy ``e`` (mean over tasks)
whose row and column are coded without bias and with relative squared errors x and y has noise
``e (1 / ((1 - x) (1 - y)) - 1)``; an omitted direction costs ``MISSING e``. For a Lagrange
multiplier l and a module weight w, each direction takes the bits that minimise ``w cost + l
bytes``, and each module the number of shared rows with the least sum. Bytes that are left go to
single directions.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ..errors import MergeError
from ..formats.codes import GROUPED, packed_bytes
from ..formats.layout import Code, Direction, ModuleLayout
from .spectrum import LARGEST_ROW_STEP, Spectrum

# Relative squared error of coded Gaussian vectors. 16 bits are only for factors stored exactly: 8
# bits leave a relative error of 0.7 %, which affects no metric.
DISTORTION = {1: 0.295, 2: 0.077, 4: 0.0051, GROUPED: 0.0075, 8: 5e-5}
# A module's shared rows become one layer of a quantised program, so they all have the same bits,
# with which the layer holds them exactly or almost.
SHARED_BITS = (GROUPED, 8)
PRIVATE_BITS = (1, 2, 4, 8)

MULTIPLIERS = (1e-12, 1e12)
BISECTIONS = 40
STEP_TEXT = 40  # most bytes that a step adds to layout.json
LEAST_GAIN = 1e-9  # of a step, relative to the module's energy: smaller ones are rounding errors

# An omitted direction is a bias, which accumulates over layers; noise does not.
MISSING = 4.0


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


class Chosen(NamedTuple):
    """What a module takes.

    Attributes:
        option: index of the number and bits of shared rows.
        choices: index of the choice of each place for a direction.
    """

    option: int
    choices: tuple[int, ...]


class Step(NamedTuple):
    """A better choice for one direction, and by how much it lowers the cost per byte."""

    rate: float
    chosen: Chosen


@dataclass(frozen=True)
class Offer:
    """The choices of one module: O options for the shared rows, R places for directions.

    Attributes:
        spectrum: energies of the directions.
        energies: those of each option's places, ``[O, R]``, weighted.
        cost: cost of every choice, relative to the energy, ``[C]``.
        prices: bytes of every choice, ``[O, R, C]``; infinite where it is not allowed.
    """

    spectrum: Spectrum
    energies: torch.Tensor
    cost: torch.Tensor
    prices: torch.Tensor

    @classmethod
    def of(cls, spectrum: Spectrum) -> "Offer":
        """Price all choices for the directions of one module."""
        energies = (spectrum.energies * spectrum.weight).repeat_interleave(len(SHARED_BITS), 0)
        cost = torch.tensor([x.cost for x in CHOICES], dtype=torch.float64)
        return cls(spectrum, energies, cost, _prices(spectrum))

    def best(self, multiplier: float) -> Chosen:
        """Return the nonempty choice of least weighted cost + ``multiplier`` * bytes."""
        costs = self.energies[..., None] * self.cost + multiplier * self.prices
        costs[:, 0, 0] = torch.inf
        least = costs.min(2)
        option = int(least.values.sum(1).argmin())
        return Chosen(option, tuple(least.indices[option].tolist()))

    def step(self, chosen: Chosen, most: float) -> Step | None:
        """Return the best step from ``chosen`` of at most so many bytes; None without any."""
        energies, prices = self.energies[chosen.option], self.prices[chosen.option]
        now = torch.tensor(chosen.choices)
        gain = energies[:, None] * (self.cost[now][:, None] - self.cost)
        bytes_ = prices - prices.gather(1, now[:, None])
        allowed = (bytes_ > 0) & (bytes_ <= most) & (gain > LEAST_GAIN * energies.sum())
        rates = torch.where(allowed, gain / bytes_, 0)
        place, choice = divmod(int(rates.argmax()), len(CHOICES))
        if not allowed[place, choice]:
            return None
        choices = (*chosen.choices[:place], choice, *chosen.choices[place + 1 :])
        return Step(float(rates[place, choice]), Chosen(chosen.option, choices))

    def layout(self, chosen: Chosen) -> ModuleLayout:
        """Return the layout of a choice."""
        shared = self.spectrum.counts[chosen.option // len(SHARED_BITS)]
        directions = [
            Direction(Code(x.row, place < shared), Code(x.column))
            for place, x in enumerate(CHOICES[index] for index in chosen.choices)
            if x.row
        ]
        steps = (LARGEST_ROW_STEP, self.spectrum.largest_step)
        return ModuleLayout(self.spectrum.shape, tuple(directions), steps)


def _prices(spectrum: Spectrum) -> torch.Tensor:
    """Bytes of every choice, ``[O, R, C]``; infinitely many where it is not allowed."""
    out, width = spectrum.shape
    rows, columns = (
        torch.tensor([packed_bytes(n, x[side]) + 1 if x[side] else 0 for x in CHOICES])
        for side, n in enumerate((width, out))
    )
    bits = torch.tensor([x.row for x in CHOICES])
    shared = torch.stack([torch.where(_any_of(bits, [b, 0]), rows, torch.inf) for b in SHARED_BITS])
    private = torch.where(_any_of(bits, [*PRIVATE_BITS, 0]), spectrum.tasks * rows, torch.inf)
    counts = torch.tensor(spectrum.counts)
    first = torch.arange(spectrum.energies.shape[1]) < counts[:, None]  # the shared rows
    prices = torch.where(first[:, None, :, None], shared[:, None], private)
    return prices.flatten(0, 1) + spectrum.tasks * columns


def _any_of(bits: torch.Tensor, wanted: Sequence[float]) -> torch.Tensor:
    return torch.isin(bits, torch.tensor(wanted, dtype=bits.dtype))


def smallest(spectra: Mapping[str, Spectrum]) -> dict[str, ModuleLayout]:
    """Return the layout of least bytes: one direction per module."""
    offers = {module: Offer.of(spectrum) for module, spectrum in spectra.items()}
    return {module: x.layout(x.best(MULTIPLIERS[1])) for module, x in offers.items()}


def allocate(
    spectra: Mapping[str, Spectrum],
    limit: int,
    size: Callable[[str, ModuleLayout], int],
    fixed: int = 0,
) -> dict[str, ModuleLayout]:
    """Return the layout of all modules within ``limit`` bytes.

    The multiplier is found by bisection. It leaves bytes over, since whole modules change at one
    multiplier.

    Args:
        spectra: module -> spectrum.
        limit: byte budget.
        size: computes the bytes of one module by its name and layout.
        fixed: bytes of everything else.

    Raises:
        MergeError: ``limit`` is below the bytes of the smallest layout.
    """
    offers = {module: Offer.of(spectrum) for module, spectrum in spectra.items()}

    def at(multiplier: float) -> dict[str, Chosen]:
        return {module: offer.best(multiplier) for module, offer in offers.items()}

    def stored(found: Mapping[str, Chosen]) -> int:
        return fixed + sum(size(module, offers[module].layout(x)) for module, x in found.items())

    low, high = MULTIPLIERS
    chosen = at(high)
    if (least := stored(chosen)) > limit:
        raise MergeError(
            f"the budget is {int(limit):,} bytes, expected at least {least:,}: one "
            "direction per module, with a 1-bit column for each task"
        )
    for _ in range(BISECTIONS):
        middle = (low * high) ** 0.5
        candidate = at(middle)
        if stored(candidate) > limit:
            low = middle
        else:
            high, chosen = middle, candidate
    chosen = _filled(offers, chosen, limit - stored(chosen), size)
    return {module: offers[module].layout(x) for module, x in chosen.items()}


def _filled(
    offers: Mapping[str, Offer],
    chosen: Mapping[str, Chosen],
    left: float,
    size: Callable[[str, ModuleLayout], int],
) -> dict[str, Chosen]:
    """Spend the bytes that are left on single directions, those of the best rate first."""
    found = dict(chosen)
    steps = {module: x.step(found[module], left - STEP_TEXT) for module, x in offers.items()}
    while possible := {module: step for module, step in steps.items() if step}:
        module = max(possible, key=lambda name: possible[name].rate)
        offer, after = offers[module], possible[module].chosen
        before, bigger = (size(module, offer.layout(x)) for x in (found[module], after))
        if bigger - before <= left:
            found[module], left = after, left - (bigger - before)
        steps[module] = offer.step(found[module], left - STEP_TEXT)
    return found
