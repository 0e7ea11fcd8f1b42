"""SuperMerge (arXiv 2412.10416): one model, ``D(l) = sum_t tanh(w[t, l]) D_t(l)``.

One weight per task t and module l, trained with the tasks' own loss (cross entropy of the answers)
on a few labelled examples of all tasks together. tanh bounds the weights and allows negative ones.
Adam and the start are inferred: ``tanh(w) = 0.3``, as Task Arithmetic recommends.

Hierarchical merging: groups of tasks are merged, then groups of what they gave, until one is left.
It is done depth first, one group at a time: no more is in memory than the stack of one group and
the merged groups that wait. A merged group has rank ``min(sum of ranks, out, in)``, which is
exact: memory falls where ``group`` times the rank exceeds ``out`` or ``in``. With ``rank`` merged
groups are cut to it, and memory falls in any case.
"""

import math
from collections.abc import Callable, Sequence

import torch

from ..adapters import AdapterSet, Factors, LoraAdapter
from ..errors import MergeError
from ..training import CalibrationData, Schedule, answer_loss
from .assemble import full_rank, merge_modules
from .checks import check_rank, check_training
from .lowrank import cut
from .merged import MergedAdapters
from .weighted import learn_coefficients, stacks_of, weighted

START = 0.3


def supermerge(
    adapters: AdapterSet,
    data: CalibrationData,
    *,
    steps: int = 200,
    rate: float = 0.1,
    batch: int = 16,
    group: int | None = None,
    rank: int | None = None,
    seed: int = 0,
) -> MergedAdapters:
    """Merge into one A and one B per module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        data: the base model, and prompts with answers for every task.
        steps: of Adam, for each group.
        rate: Adam's learning rate.
        batch: examples per step.
        group: tasks that are merged at once; by default all.
        rank: of the result and of merged groups; by default ``min(out, in, sum of ranks)``, which
            loses nothing.
        seed: of the order of the examples.

    Raises:
        MergeError: ``group`` outside 2 to T, or another setting outside of its range.
        TrainingError: a loss that is not finite, with the step.
    """
    check_rank(rank)
    check_training(steps, rate, batch, seed)
    tasks = adapters.tasks
    if group is not None and not 2 <= group <= len(tasks):
        raise MergeError(
            f"group is {group}, expected 2 to {len(tasks)}, the number of adapters, or none"
        )
    schedule = Schedule(steps, rate, batch, seed=seed)
    merged = _merged(adapters, data, schedule, group or len(tasks), rank)
    settings = {"steps": steps, "rate": rate, "batch": batch, "group": group, "seed": seed}
    return merge_modules("supermerge", adapters, merged, rank, settings)


def _merged(
    adapters: AdapterSet, data: CalibrationData, schedule: Schedule, size: int, rank: int | None
) -> Callable[[str], Factors]:
    """What gives a module's merged delta, after learning the weights of at most ``size`` parts."""
    chunks = _chunks(adapters.adapters, size)
    parts = AdapterSet(_part(chunk, data, schedule, size, rank) for chunk in chunks)
    stacks = stacks_of(parts, data.model.device)
    start = torch.full((len(chunks), len(stacks)), math.atanh(START))
    del parts  # the stacks hold copies
    rows = data.answered(adapters.tasks)
    found = learn_coefficients(stacks, data, start, torch.tanh, answer_loss, rows, schedule)
    columns = dict(zip(stacks, found.T, strict=True))
    return lambda module: weighted(stacks[module], columns[module])


def _chunks(adapters: Sequence[LoraAdapter], size: int) -> list[Sequence[LoraAdapter]]:
    """At most ``size`` chunks, of 1, size, size², … adapters each; the last may have fewer."""
    length = 1
    while length * size < len(adapters):
        length *= size
    return [adapters[first : first + length] for first in range(0, len(adapters), length)]


def _part(
    chunk: Sequence[LoraAdapter],
    data: CalibrationData,
    schedule: Schedule,
    size: int,
    rank: int | None,
) -> LoraAdapter:
    """A chunk merged into one adapter, cut to ``rank``; one that is alone stays as it is."""
    if len(chunk) == 1:
        return chunk[0]
    adapters = AdapterSet(chunk)
    merged = _merged(adapters, data, schedule, size, rank)
    factors = {
        module: cut(merged(module), min(rank or math.inf, full_rank(adapters, module))).factors
        for module in adapters.shapes
    }
    return LoraAdapter(chunk[0].name, chunk[0].base_model, factors)
