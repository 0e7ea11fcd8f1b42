"""Write a frontier or a comparison of experts: records, tables and plots."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import sacrebleu  # noqa: F401  fails before the evaluation if it is missing

from ..adapters import read_adapters
from ..files import check_files, json_bytes, write_files
from ..merging import METHODS
from ..training import read_examples
from .chart import experts_table, plot, plot_experts, table
from .experts import ExpertPoint, compare_experts
from .frontier import SHARES, Point, frontier
from .points import CALIBRATED, FRONTIER, Benchmark

STORAGE = ("budget", CALIBRATED, "plain", "hydraopt", "average")
RESULTS, TABLE, PLOT = "results.json", "frontier.md", "frontier.png"
EXPERTS, EXPERTS_TABLE, EXPERTS_PLOT = "experts.json", "experts.md", "experts.png"


def read_benchmark(
    sources: Sequence[str],
    base: str,
    data: Path,
    train: Path | None = None,
    inputs: int | None = None,
) -> Benchmark:
    """Read adapters and examples; ``inputs`` limits the test examples of every task.

    Raises:
        HydraOptError: a file cannot be read.
    """
    adapters = read_adapters(sources)
    training = read_examples(train, adapters.tasks) if train else None
    examples = read_examples(data, adapters.tasks)
    tests = {task: pairs[:inputs] for task, pairs in examples.items()}
    return Benchmark(adapters, base, tests, training)


def write_frontier(
    directory: Path,
    benchmark: Benchmark,
    methods: Sequence[str] | None,
    jobs: int,
    budgets: Sequence[float] = SHARES,
) -> list[Point]:
    """Evaluate methods and write results.json, frontier.md and frontier.png.

    ``methods`` defaults to the byte budget (also calibrated if there are training examples), plain
    integers, HydraOpt with several numbers of B's, and the average. ``budgets`` are percentages of
    the adapters' fp16 bytes.

    Raises:
        UsageError: a method is unknown.
        OutputError: ``directory`` holds something else, or cannot be written.
        HydraOptError: an evaluation fails.
    """
    check_files(directory, FRONTIER, (RESULTS, TABLE, PLOT))
    methods = methods or [x for x in STORAGE if x != CALIBRATED or benchmark.training]
    points = frontier(benchmark, methods, directory, jobs, budgets)
    rows = [
        asdict(point) | point.summary() | {"s_score": point.s_score(points[0])} for point in points
    ]
    contents = {RESULTS: json_bytes(rows), TABLE: table(points).encode(), PLOT: plot(points)}
    write_files(directory, FRONTIER, contents)
    return points


def write_experts(
    directory: Path,
    benchmark: Benchmark,
    methods: Sequence[str] | None,
    counts: Sequence[int],
    held_out: int,
    jobs: int,
) -> list[ExpertPoint]:
    """Compare numbers of experts and write experts.json, experts.md and experts.png.

    ``methods`` defaults to all merging methods, without those that need data if there is none.

    Raises:
        UsageError: there are more experts than tasks.
        OutputError: ``directory`` holds something else, or cannot be written.
        HydraOptError: an evaluation fails.
    """
    check_files(directory, FRONTIER, (EXPERTS, EXPERTS_TABLE, EXPERTS_PLOT))
    methods = methods or [
        name
        for name, method in METHODS.items()
        if name != "private" and (method.needs == "nothing" or benchmark.training)
    ]
    points = compare_experts(benchmark, methods, counts, held_out, directory, jobs)
    rows = [point.record() for point in points]
    contents = {EXPERTS: json_bytes(rows), EXPERTS_TABLE: experts_table(points).encode()}
    write_files(directory, FRONTIER, contents | {EXPERTS_PLOT: plot_experts(points)})
    return points
