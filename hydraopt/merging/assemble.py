"""From one module's merged deltas to ``MergedAdapters``: cutting to a rank, sharing, reporting."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping

import torch

from ..adapters import AdapterSet
from ..factors import Delta, cut
from ..progress import progress
from ..stored import MergedAdapters, Setting, Side, head_sides, stacked
from .checks import check_rank

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
            merged, assignment = [merged], torch.zeros(len(adapters.tasks), dtype=torch.int64)
        else:
            limit = rank or adapters.max_rank
            assignment = torch.arange(len(adapters.tasks))
        cuts = [cut(delta, min(limit, *adapters.shapes[module])) for delta in merged]
        sides[module] = stacked([x.factors for x in cuts], assignment)
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


def full_rank(adapters: AdapterSet, module: str) -> int:
    """The largest rank that a sum of a module's deltas can have: min(out, in, sum of ranks)."""
    ranks = (len(x.factors[module].a) for x in adapters.adapters if module in x.factors)
    return min(*adapters.shapes[module], sum(ranks))
