"""Compare merges by number of tasks, on those tasks and on unseen ones.

The axes follow "What Matters for Model Merging at Scale?" (arXiv 2410.03617): method, number of
tasks, and held-in or held-out tasks. Methods that keep a delta per task cannot run an unseen task.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean

from ..adapters import AdapterSet
from ..errors import UsageError
from ..merging import find_method
from .evaluator import Scores, TaskFactors
from .points import Benchmark, measured

UNMERGED, BASE = "unmerged", "base"


@dataclass(frozen=True)
class MergePoint:
    """Mean scores of one merge.

    Attributes:
        method: name of the method.
        tasks: number of tasks merged.
        held_in: scores on the merged tasks.
        held_out: scores on tasks that no merge saw; None if the method cannot run them.
    """

    method: str
    tasks: int
    held_in: Scores
    held_out: Scores | None

    def record(self) -> dict:
        """Return a JSON-compatible record."""
        held_in, held_out = (x and x._asdict() for x in (self.held_in, self.held_out))
        return asdict(self) | {"held_in": held_in, "held_out": held_out}


def evenly_spaced(tasks: Sequence[str], count: int) -> list[str]:
    """Choose ``count`` evenly spaced tasks, in order."""
    return [tasks[i * len(tasks) // count] for i in range(count)]


def compare_merges(
    benchmark: Benchmark,
    methods: Sequence[str],
    counts: Sequence[int],
    held_out: int,
    directory: Path,
    jobs: int,
) -> list[MergePoint]:
    """Evaluate every method with every number of tasks, after the adapters and the base alone.

    Args:
        benchmark: adapters and examples.
        methods: names in ``METHODS``.
        counts: numbers of tasks.
        held_out: number of tasks to exclude from every merge.
        directory: directory for the results.
        jobs: number of processes.

    Raises:
        UsageError: a method is unknown, or a number is larger than that of the tasks left.
    """
    tasks = benchmark.adapters.tasks
    unseen = evenly_spaced(tasks, held_out)
    rest = [task for task in tasks if task not in unseen]
    for method in methods:
        find_method(method)
    benchmark.check(methods)
    if wrong := [count for count in counts if not 1 <= count <= len(rest)]:
        raise UsageError(
            f"{wrong[0]} tasks, expected 1 to {len(rest)}: {len(tasks)} tasks without the "
            f"{len(unseen)} held out"
        )
    work = {
        f"{method} {count} tasks": partial(
            _measure, benchmark, method, evenly_spaced(rest, count), unseen
        )
        for count in counts
        for method in (UNMERGED, BASE, *methods)
    }
    return [_restored(x) for x in measured(work, benchmark.fingerprint, directory, jobs).values()]


def _measure(benchmark: Benchmark, method: str, merged: list[str], unseen: list[str]) -> dict:
    evaluator = benchmark.evaluator()
    own, others = _factors(benchmark, method, merged)
    held_in = _mean(evaluator.scores(merged, own).values())
    held_out = _mean(evaluator.scores(unseen, others).values()) if others and unseen else None
    return MergePoint(method, len(merged), held_in, held_out).record()


def _factors(
    benchmark: Benchmark, method: str, tasks: list[str]
) -> tuple[TaskFactors, TaskFactors | None]:
    """Return the factors of merged tasks, and of unseen tasks if the method has any."""
    trained = {adapter.name: adapter for adapter in benchmark.adapters.adapters}
    if method == BASE:
        return (lambda _: {}), (lambda _: {})
    if method == UNMERGED:
        return (lambda task: trained[task].factors), (lambda task: trained[task].factors)
    merged = benchmark.merge(method, AdapterSet(trained[task] for task in tasks))
    for_all = None if find_method(method).per_task else merged.task_factors(tasks[0])
    return merged.task_factors, None if for_all is None else (lambda _: for_all)


def _mean(scores: Collection[Scores]) -> Scores:
    return Scores(*map(mean, zip(*scores, strict=True)))


def _restored(fields: dict) -> MergePoint:
    scores = (x and Scores(**x) for x in (fields["held_in"], fields["held_out"]))
    return MergePoint(fields["method"], fields["tasks"], *scores)
