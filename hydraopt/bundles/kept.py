"""Whether an adapter fits a bundle that was made without it.

Its private columns are fitted to the rows that the bundle's tasks share. Of an adapter that has
nothing to do with them n random rows of ``in`` values keep ``n / in`` of its squared norm: the
share that they keep of a row is Beta(n / 2, (in - n) / 2).
"""

import logging
import math
from typing import NamedTuple

from ..adapters import LoraAdapter
from ..errors import AdapterError
from ..factors import Factors
from ..formats.layout import ModuleLayout
from ..packing import CodedAdapters

DEVIATIONS = 3  # standard ones, above the mean of unrelated adapters

logger = logging.getLogger(__name__)


class _Module(NamedTuple):
    """Of one module: delta's squared norm, its product with the coded one, error, and shares."""

    energy: float
    mixed: float
    error: float
    kept: float
    mean: float
    variance: float


def check_kept(adapter: LoraAdapter, coded: CodedAdapters) -> None:
    """Refuse an adapter of which a bundle keeps nothing.

    That is one of which the bundle's rows keep no more than of an unrelated one, and less than half
    (at any scale); or one that is too large for the bundle's steps, so that its coded change ends
    nearer to the base model than to the adapter. An error above 1 alone is but told, as codes of
    few bits are unbiased rather than near.

    Args:
        adapter: the new one.
        coded: its codes.

    Raises:
        AdapterError: it is such an adapter.
    """
    factors = coded.task_factors(adapter.name)
    modules = [
        _module(x, factors[name], coded.layout.modules[name]) for name, x in adapter.factors.items()
    ]
    energy = sum(x.energy for x in modules)
    if not energy:
        return  # it changes nothing, and so do its codes
    error = math.sqrt(sum(x.error for x in modules) / energy)
    gain = sum(x.mixed for x in modules) / energy
    kept = sum(x.energy * x.kept for x in modules) / energy
    mean = sum(x.energy * x.mean for x in modules) / energy
    deviation = math.sqrt(sum(x.energy**2 * x.variance for x in modules)) / energy
    told = (
        f"the bundle keeps {kept:.1%} of adapter {adapter.name!r}, {mean:.1%} of an unrelated one, "
        f"at {gain:.2f} of its size: its relative error is {error:.2f}, where the base model alone "
        "has 1; export a new bundle with it"
    )
    if kept <= min(0.5, mean + DEVIATIONS * deviation) or gain < 0.5:
        raise AdapterError(told)
    if error >= 1:
        logger.warning("%s", told)


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
