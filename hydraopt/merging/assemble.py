"""From one module's merged deltas to ``MergedAdapters``: cutting to a rank, sharing, reporting."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from ..adapters import AdapterSet, Factors
from ..progress import progress
from .checks import check_rank
from .lowrank import Delta, cut, padded
from .merged import MergedAdapters, Setting
from .side import Side

logger = logging.getLogger(__name__)


def merge_modules(
    method: str,
    adapters: AdapterSet,
    merge: Callable[[str], Delta | Iterable[Delta]],
    rank: int | None,
    settings: Mapping[str, Setting],
) -> MergedAdapters:
    """Merge module by module, and cut the results to a rank.

    Args:
        method: the method's name.
        adapters: what is merged.
        merge: from a module's name to one delta for all tasks, or to T deltas in order.
        rank: of the result. By default one delta for all tasks has the largest rank that a sum of
            the module's deltas can have, so that what is exact stays exact: its factors are stored
            once. Deltas per task have the largest rank of the adapters: the same slots.
        settings: the method's options, for the record.

    Raises:
        MergeError: ``rank`` below 1.
    """
    check_rank(rank)
    sides, lost, energy = {}, 0.0, 0.0
    for module in progress(adapters.shapes, "merge"):
        merged = merge(module)
        if isinstance(merged, Delta):
            limit = rank or full_rank(adapters, module)
            merged, of = [merged], torch.zeros(len(adapters.tasks), dtype=torch.int64)
        else:
            limit = rank or adapters.max_rank
            of = torch.arange(len(adapters.tasks))
        cuts = [cut(delta, min(limit, *adapters.shapes[module])) for delta in merged]
        sides[module] = stacked([x.factors for x in cuts], of)
        lost += sum(x.lost for x in cuts)
        energy += sum(x.energy for x in cuts)
    error = math.sqrt(lost / energy) if energy else 0.0
    logger.info("%s: relative error of the projection to the result's rank: %.4f", method, error)
    projection = {"rank": rank, "projection_error": round(error, 4)}
    return assemble(method, adapters, sides, {**settings, **projection})


def assemble(
    method: str,
    adapters: AdapterSet,
    sides: Mapping[str, tuple[Side, Side]],
    settings: Mapping[str, Setting],
) -> MergedAdapters:
    """The result of a method, with what is known from its adapters filled in; heads stay."""
    modules = {**sides, **head_sides(adapters)}
    return MergedAdapters(
        method,
        settings,
        adapters.base_model,
        adapters.tasks,
        modules,
        adapters.fp16_bytes,
        task_type=adapters.task_type,
        base_weights=adapters.base_weights,
    )


def head_sides(adapters: AdapterSet) -> dict[str, tuple[Side, Side]]:
    """Every task's own head, by module; those of fewer classes padded with zeros."""
    everyone = torch.arange(len(adapters.tasks))
    return {
        name: stacked([adapter.heads[name] for adapter in adapters.adapters], everyone)
        for name in adapters.adapters[0].heads
    }


def zero(shape: tuple[int, int]) -> Factors:
    """A rank-1 zero delta of ``shape`` ``(out, in)``, for a task that lacks a module."""
    rows, columns = shape
    return Factors(torch.zeros(1, columns), torch.zeros(rows, 1))


def stacked(factors: Sequence[Factors], of: torch.Tensor) -> tuple[Side, Side]:
    """Both sides of a module whose tasks take ``factors[of]``, of equal or different ranks."""
    rank = max(1, *(len(x.a) for x in factors))
    stacks = zip(*(padded(x, rank) for x in factors), strict=True)
    a, b = (Side(torch.stack(side), of) for side in stacks)
    return a, b


def full_rank(adapters: AdapterSet, module: str) -> int:
    """The largest rank that a sum of a module's deltas can have: min(out, in, sum of ranks)."""
    ranks = (len(x.factors[module].a) for x in adapters.adapters if module in x.factors)
    return min(*adapters.shapes[module], sum(ranks))
