"""Build ``MergedAdapters`` from merged deltas: truncate ranks, share factors, report errors."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping

import torch

from ..adapters import AdapterSet, each_module
from ..factors import Delta, cut
from ..stored import MergedAdapters, Setting, Side, head_sides, stacked
from .checks import check_rank

logger = logging.getLogger(__name__)


def merge_modules(
    method: str,
    adapters: AdapterSet,
    merge: Callable[[AdapterSet, str], Delta | Iterable[Delta]],
    rank: int | None,
    settings: Mapping[str, Setting],
) -> MergedAdapters:
    """Merge module by module and truncate the results to a rank.

    Args:
        method: name of the method.
        adapters: the adapters to merge.
        merge: maps the adapters of one module alone, and its name, to one delta for all tasks, or
            to T deltas in task order; called for several modules at a time.
        rank: rank of the result. A single delta defaults to the largest rank that a sum of the
            module's deltas can have, so that an exact merge stays exact. Deltas per task default
            to the largest rank of the adapters, which keeps the size of the slots.
        settings: options of the method, kept as a record.

    Raises:
        MergeError: ``rank`` is below 1.
    """
    check_rank(rank)
    largest, tasks = adapters.max_rank, len(adapters.tasks)

    def merged(alone: AdapterSet, module: str) -> tuple[tuple[Side, Side], float, float]:
        found = merge(alone, module)
        if isinstance(found, Delta):
            limit = rank or full_rank(alone, module)
            found, assignment = [found], torch.zeros(tasks, dtype=torch.int64)
        else:
            limit, assignment = rank or largest, torch.arange(tasks)
        cuts = [cut(delta, min(limit, *alone.shapes[module])) for delta in found]
        both = stacked([x.factors for x in cuts], assignment)
        return both, sum(x.lost for x in cuts), sum(x.energy for x in cuts)

    found = each_module(adapters, merged, "merge")
    sides = {module: both for module, (both, _, _) in found.items()}
    lost, energy = sum(x[1] for x in found.values()), sum(x[2] for x in found.values())
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
    """Build a method's result; metadata and heads come from ``adapters``."""
    modules = {**sides, **head_sides(adapters)}
    return MergedAdapters(
        method,
        settings,
        adapters.base_model,
        adapters.tasks,
        modules,
        adapter_bytes=adapters.fp16_bytes,
        task_type=adapters.task_type,
        base_weights=adapters.base_weights,
    )


def full_rank(adapters: AdapterSet, module: str) -> int:
    """Return the largest possible rank of a module's summed deltas: min(out, in, sum of ranks)."""
    ranks = (x.sizes[module].rank for x in adapters.adapters if module in x.sizes)
    return min(*adapters.shapes[module], sum(ranks))
