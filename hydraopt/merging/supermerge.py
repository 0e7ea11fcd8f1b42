"""SuperMerge (arXiv 2412.10416): one model, ``D(l) = sum_t tanh(w[t, l]) D_t(l)``.

One weight per task t and module l is trained with the tasks' loss (cross entropy of the answers) on
a few labelled examples of all tasks. tanh bounds the weights and allows negative ones. Adam and the
initial value ``tanh(w) = 0.3`` are inferred; 0.3 is what Task Arithmetic recommends.

Hierarchical merging merges groups of tasks, then groups of the results, until one is left. It works
depth first, so memory holds one group's stack and the merged groups that wait for it. Weights
trained for one group alone fit poorly beside the others, so ``sweeps``, our addition, retrain each
group's weights with the rest of the model merged into one adapter. A merged group has rank
``min(sum of ranks, out, in)``, which is exact and saves memory once ``group`` times the rank
exceeds ``out`` or ``in``. With ``rank``, groups are truncated, which always saves memory.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from ..adapters import AdapterSet, LoraAdapter
from ..adapters.applied import stack_of, stacks_of
from ..errors import MergeError
from ..factors import Factors, cut
from ..stored import MergedAdapters
from ..training import CalibrationData, Schedule, answer_loss
from .assemble import full_rank, merge_modules
from .checks import check_rank, check_training
from .registry import merging_method
from .weighted import learn_coefficients, weighted

NAME = "supermerge"

START = 0.3
MOST_SWEEPS = 100

Coefficients = Mapping[str, torch.Tensor]  # module -> [T]


@merging_method(name=NAME, paper="SuperMerge, arXiv 2412.10416", needs="labels", storage="m n")
def supermerge(
    adapters: AdapterSet,
    data: CalibrationData,
    *,
    steps: int = 200,
    rate: float = 0.1,
    batch: int = 16,
    group: int | None = None,
    sweeps: int = 2,
    rank: int | None = None,
    seed: int = 0,
) -> MergedAdapters:
    """Merge into one A and one B per module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        data: the base model and prompts with answers for every task.
        steps: number of Adam steps per group.
        rate: learning rate of Adam.
        batch: examples per step.
        group: number of tasks to merge at once; defaults to all.
        sweeps: number of times groups are retrained after hierarchical merging.
        rank: rank of the result and of merged groups; defaults to ``min(out, in, sum of ranks)``,
            which is lossless.
        seed: seed for the order of the examples.

    Raises:
        MergeError: ``group`` is outside 2 to T, or another setting is out of range.
        TrainingError: the loss is not finite; names the step.
    """
    check_rank(rank)
    check_training(steps, rate, batch, seed)
    tasks = adapters.tasks
    if group is not None and not 2 <= group <= len(tasks):
        raise MergeError(
            f"group is {group}, expected 2 to {len(tasks)}, the number of adapters, or none"
        )
    if not 0 <= sweeps <= MOST_SWEEPS:
        raise MergeError(f"sweeps is {sweeps}, expected 0 to {MOST_SWEEPS}")
    size = group or len(tasks)
    training = _Training(data, Schedule(steps, rate, batch, seed=seed), rank)
    coefficients = _hierarchical(adapters, training, size)
    if size < len(tasks):
        for first in (*range(0, len(tasks), size),) * sweeps:
            chosen = range(first, min(first + size, len(tasks)))
            coefficients = _again(adapters, training, coefficients, chosen)
    settings = {"steps": steps, "rate": rate, "batch": batch, "group": group, "sweeps": sweeps}
    return merge_modules(
        NAME,
        adapters,
        lambda alone, module: weighted(stack_of(alone, module), coefficients[module]),
        rank,
        {**settings, "seed": seed},
    )


class _Training(NamedTuple):
    """How weights are trained, and the rank of merged groups."""

    data: CalibrationData
    schedule: Schedule
    rank: int | None

    def learn(
        self,
        parts: AdapterSet,
        tasks: Sequence[str],
        start: Callable[[str], torch.Tensor],
        bound: Callable[[torch.Tensor], torch.Tensor] = torch.tanh,
    ) -> Coefficients:
        """Train coefficients of ``parts`` on the examples of ``tasks``."""
        stacks = stacks_of(parts, self.data.model.device)
        del parts  # the stacks hold copies
        weights = torch.stack([start(module) for module in stacks], 1)
        examples = self.data.answered(tasks)
        learnt = learn_coefficients(
            stacks, self.data, weights, bound, answer_loss, examples, self.schedule
        )
        return dict(zip(stacks, learnt.T.cpu(), strict=True))

    def merged(self, adapters: AdapterSet, coefficients: Coefficients) -> LoraAdapter:
        """Merge ``adapters`` into one, named after the first."""
        factors = {}
        for module in adapters.shapes:
            total = weighted(stack_of(adapters, module), coefficients[module])
            full = full_rank(adapters, module)
            factors[module] = _smallest(total, min(self.rank or full, full))
        return LoraAdapter(adapters.tasks[0], adapters.base_model, factors)


def _smallest(total: Factors, limit: int) -> Factors:
    """Reduce ``total`` to rank ``limit``; skips the SVD if the dense delta fits as one factor."""
    out, width = total.shape
    if len(total.a) <= limit or limit < min(out, width):
        return cut(total, limit).factors
    delta, one = total.b @ total.a, torch.eye(limit)
    return Factors(one, delta) if width <= out else Factors(delta, one)


def _hierarchical(adapters: AdapterSet, training: _Training, size: int) -> Coefficients:
    """Return the tasks' coefficients, each the product over all levels."""
    chunks = _chunks(adapters.adapters, size)
    inner, parts = zip(*(_part(chunk, training, size) for chunk in chunks), strict=True)
    start = torch.full((len(chunks),), math.atanh(START))
    outer = training.learn(AdapterSet(parts), adapters.tasks, lambda _: start)

    def product(module: str, place: int) -> torch.Tensor:
        own = inner[place].get(module, torch.ones(len(chunks[place])))
        return own * outer[module][place]

    return {m: torch.cat([product(m, place) for place in range(len(chunks))]) for m in outer}


def _part(
    chunk: Sequence[LoraAdapter], training: _Training, size: int
) -> tuple[Coefficients, LoraAdapter]:
    """Return a chunk's coefficients and merged adapter; a single adapter stays unchanged."""
    if len(chunk) == 1:
        return {}, chunk[0]
    adapters = AdapterSet(chunk)
    coefficients = _hierarchical(adapters, training, size)
    return coefficients, training.merged(adapters, coefficients)


def _again(
    adapters: AdapterSet, training: _Training, before: Coefficients, chosen: range
) -> Coefficients:
    """Retrain the coefficients of ``chosen`` tasks; all others are merged into one adapter."""
    places = torch.tensor([i for i in range(len(adapters.tasks)) if i not in chosen])
    others = AdapterSet(adapters.adapters[i] for i in places)
    rest = training.merged(others, {m: before[m][places] for m in others.shapes})
    learnt = training.learn(
        AdapterSet([*adapters.adapters[chosen.start : chosen.stop], rest]),
        adapters.tasks,
        lambda module: torch.atanh(before[module][chosen.start : chosen.stop]),
        lambda w: torch.cat([torch.tanh(w), w.new_ones(1, w.shape[1])]),
    )
    after = {module: coefficients.clone() for module, coefficients in before.items()}
    for module, coefficients in learnt.items():
        after[module][chosen.start : chosen.stop] = coefficients[: len(chosen)]
    return after


def _chunks(adapters: Sequence[LoraAdapter], size: int) -> list[Sequence[LoraAdapter]]:
    """Split into at most ``size`` chunks of 1, size, size², … adapters; the last may be smaller."""
    length = 1
    while length * size < len(adapters):
        length *= size
    return [adapters[first : first + length] for first in range(0, len(adapters), length)]
