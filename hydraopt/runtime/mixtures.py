"""Mixtures: what a session adds to the base, a weighted sum of tasks' deltas.

Where tasks share the rows of a module, ``sum_t w_t B_t A`` is ``(sum_t w_t B_t) A``: as many
directions as one task has, and the same program. Rows of their own would need the sum of the ranks.
"""

from collections.abc import Collection, Mapping, Sequence

import torch

from ..errors import TaskError, check_task
from ..factors import is_head

Mixture = Mapping[str, float]  # task -> weight; empty: the base without an adapter

LARGEST_WEIGHT = 16.0


def mixture_of(asked: str | Mixture | None, scale: float, tasks: Collection[str]) -> Mixture:
    """Return what is asked for as weights, without tasks whose weight is 0.

    Args:
        asked: a task, weights of tasks, or None for the base.
        scale: the weight of a single task.
        tasks: the bundle's tasks.

    Raises:
        TaskError: a task is unknown, a weight is out of range, all weights are 0, or ``scale`` does
            not go with ``asked``.
    """
    if scale != 1 and not isinstance(asked, str):
        raise TaskError(f"scale is {scale}, but scales one task; a mixture has weights")
    if asked is None:
        return {}
    weights = {asked: scale} if isinstance(asked, str) else asked
    for task, weight in weights.items():
        check_task(task, tasks)
        if not -LARGEST_WEIGHT <= weight <= LARGEST_WEIGHT:
            raise TaskError(
                f"the weight of task {task!r} is {weight}, expected -{LARGEST_WEIGHT:g} to "
                f"{LARGEST_WEIGHT:g}"
            )
    mixture = {task: float(weight) for task, weight in weights.items() if weight}
    if not mixture:
        raise TaskError("all weights are 0, which is the base; switch to None for it")
    return mixture


def mixed(
    unpacked: Mapping[str, Mapping[str, torch.Tensor]], mixture: Mixture
) -> Sequence[torch.Tensor]:
    """Return the factors of a mixture, in the order of each task's.

    A head is no delta, and stays as it is.

    Args:
        unpacked: task -> name of a factor -> ``A [1, in, n]`` or ``B [1, R, out]``, float32.
        mixture: weights of the same tasks, at least one.

    Raises:
        TaskError: a module has rows that the tasks do not share.
    """
    first, *others = unpacked.values()
    factors, private = [], []
    for name, factor in first.items():
        module, _, side = name.rpartition(".")
        if side == "A" and not all(factor.equal(other[name]) for other in others):
            private.append(module)
        weighs = side == "B" and not is_head(module)
        factors.append(_weighted_sum(unpacked, name, mixture) if weighs else factor)
    if private:
        raise TaskError(
            f"{', '.join(map(repr, mixture))} cannot be mixed: {len(private)} modules have rows of "
            f"their own for each task, such as {private[0]}; compress the adapters to be mixable "
            "and export again",
            options=["mixable"],
        )
    return factors


def _weighted_sum(
    unpacked: Mapping[str, Mapping[str, torch.Tensor]], name: str, mixture: Mixture
) -> torch.Tensor:
    first, *others = (unpacked[task][name] * weight for task, weight in mixture.items())
    return sum(others, first)
