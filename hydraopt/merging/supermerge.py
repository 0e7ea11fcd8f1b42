"""SuperMerge (arXiv 2412.10416): one model, ``D(l) = sum_t tanh(w[t, l]) D_t(l)``.

One weight per task t and module l, trained with the tasks' own loss (cross entropy of the answers)
on a few labelled examples of all tasks together. tanh bounds the weights and allows negative ones.
Adam and the start are inferred: ``tanh(w) = 0.3``, as Task Arithmetic recommends.

Hierarchical merging: groups of tasks are merged one after another, then groups of what they gave,
until one is left. Only one group is in memory as a stack; with ``group`` parts it has at most
``group * min(out, in)`` directions per module, since a merged group is kept at its smallest exact
form, of rank ``min(sum of ranks, out, in)``. With ``rank`` it is cut to that.
"""

import math

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

Owners = list[tuple[str, ...]]  # the tasks that each part was merged from


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
    size = group or len(tasks)
    parts, owners = adapters, [(task,) for task in tasks]
    while len(owners) > size:
        parts, owners = _reduced(parts, owners, data, schedule, size, rank)
    deltas = _merged(parts, owners, data, schedule)
    settings = {"steps": steps, "rate": rate, "batch": batch, "group": group, "seed": seed}
    return merge_modules("supermerge", adapters, deltas.__getitem__, rank, settings)


def _reduced(
    parts: AdapterSet,
    owners: Owners,
    data: CalibrationData,
    schedule: Schedule,
    size: int,
    rank: int | None,
) -> tuple[AdapterSet, Owners]:
    """Merge groups of ``size`` parts, one after another; a part that is left alone stays."""
    reduced, joined = [], []
    for first in range(0, len(owners), size):
        chosen = owners[first : first + size]
        found = parts.adapters[first : first + size]
        if len(found) > 1:
            group = AdapterSet(found)
            deltas = _merged(group, chosen, data, schedule)
            factors = {
                module: cut(delta, min(rank or math.inf, full_rank(group, module))).factors
                for module, delta in deltas.items()
            }
            found = (LoraAdapter(found[0].name, parts.base_model, factors),)
        reduced.extend(found)
        joined.append(tuple(task for tasks in chosen for task in tasks))
    return AdapterSet(reduced), joined


def _merged(
    parts: AdapterSet, owners: Owners, data: CalibrationData, schedule: Schedule
) -> dict[str, Factors]:
    """The weighted sum of the parts' deltas, module by module, after learning the weights."""
    stacks = stacks_of(parts, data.model.device)
    start = torch.full((len(owners), len(stacks)), math.atanh(START))
    rows = data.answered(task for tasks in owners for task in tasks)
    found = learn_coefficients(stacks, data, start, torch.tanh, answer_loss, rows, schedule)
    columns = zip(stacks.items(), found.T, strict=True)
    return {
        module: Factors(*(x.cpu() for x in weighted(stack, column)))
        for (module, stack), column in columns
    }
