"""Check that a bundle can represent an adapter that it was not made of.

An added adapter's columns are fitted to the rows that the bundle's tasks share. For an unrelated
adapter, n shared rows of ``in`` values keep ``n / in`` of its squared norm on average: the share
kept of a row is distributed as Beta(n / 2, (in - n) / 2).
"""

import logging
import math
from typing import NamedTuple

from ..adapters import LoraAdapter
from ..errors import AdapterError
from ..factors import Factors
from ..formats.layout import ModuleLayout
from ..packing import CodedAdapters

DEVIATIONS = 3  # standard deviations above the mean of unrelated adapters

logger = logging.getLogger(__name__)


class _Module(NamedTuple):
    """A module's squared norm, product with its coded delta, squared error and shares kept."""

    energy: float
    mixed: float
    error: float
    kept: float
    mean: float
    variance: float


def check_kept(adapter: LoraAdapter, coded: CodedAdapters) -> None:
    """Refuse an adapter that the bundle's rows cannot represent.

    Refused are adapters of which the rows keep less than half and no more than of an unrelated one,
    at any scale, and adapters that are too large for the bundle's steps, so that the coded delta is
    nearer to the base model than to the adapter. An error above 1 alone is a warning: codes of few
    bits are unbiased, not close.

    Args:
        adapter: the new adapter.
        coded: its codes.

    Raises:
        AdapterError: the bundle cannot represent the adapter.
    """
    factors = coded.task_factors(adapter.name)
    modules = [
        _module(x, factors[name], coded.layout.modules[name]) for name, x in adapter.factors.items()
    ]
    energy = sum(x.energy for x in modules)
    if not energy:
        return  # a zero adapter, with zero codes
    error = math.sqrt(sum(x.error for x in modules) / energy)
    gain = sum(x.mixed for x in modules) / energy
    kept = sum(x.energy * x.kept for x in modules) / energy
    mean = sum(x.energy * x.mean for x in modules) / energy
    deviation = math.sqrt(sum(x.energy**2 * x.variance for x in modules)) / energy
    message = (
        f"the bundle keeps {kept:.1%} of adapter {adapter.name!r}, {mean:.1%} of an unrelated one, "
        f"at {gain:.2f} of its size: its relative error is {error:.2f}, where the base model alone "
        "has 1; export a new bundle with it"
    )
    if kept <= min(0.5, mean + DEVIATIONS * deviation) or gain < 0.5:
        raise AdapterError(message)
    if error >= 1:
        logger.warning("%s", message)


def _module(original: Factors, coded: Factors, layout: ModuleLayout) -> _Module:
    energy, mixed, size = (
        float(((x.b.T.double() @ y.b.double()) * (x.a.double() @ y.a.T.double())).sum())
        for x, y in ((original, original), (original, coded), (coded, coded))
    )
    kept = mixed**2 / (energy * size) if energy and size else 0.0
    rows, length = layout.shared_rows, layout.length("A")
    mean = min(1.0, rows / length)
    variance = 2 * mean * (1 - mean) / (length + 2) / len(original.a)
    return _Module(energy, mixed, max(0.0, energy - 2 * mixed + size), kept, mean, variance)
