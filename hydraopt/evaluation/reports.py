"""Write a frontier or a comparison of merges: records, tables and plots."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import sacrebleu  # noqa: F401  fails before the evaluation if it is missing

from ..adapters import read_adapters
from ..files import check_files, json_bytes, write_files
from ..merging import METHODS
from ..training import read_examples
from .chart import merges_table, plot, plot_merges, table
from .frontier import SHARES, Point, frontier
from .merges import MergePoint, compare_merges
from .points import CALIBRATED, FRONTIER, Benchmark

STORAGE = ("budget", CALIBRATED, "plain", "hydraopt", "average")
RESULTS, TABLE, PLOT = "results.json", "frontier.md", "frontier.png"
MERGES, MERGES_TABLE, MERGES_PLOT = "merges.json", "merges.md", "merges.png"


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
        asdict(point)
        | point.summary()
        | {"lost_interval": point.lost(points[0]), "s_score": point.s_score(points[0])}
        for point in points
    ]
    contents = {RESULTS: json_bytes(rows), TABLE: table(points).encode(), PLOT: plot(points)}
    write_files(directory, FRONTIER, contents)
    return points


def write_merges(
    directory: Path,
    benchmark: Benchmark,
    methods: Sequence[str] | None,
    counts: Sequence[int],
    held_out: int,
    jobs: int,
) -> list[MergePoint]:
    """Compare numbers of tasks and write merges.json, merges.md and merges.png.

    ``methods`` defaults to all merging methods, without those that need data if there is none.

    Raises:
        UsageError: a method is unknown, or a number is larger than that of the tasks left.
        OutputError: ``directory`` holds something else, or cannot be written.
        HydraOptError: an evaluation fails.
    """
    check_files(directory, FRONTIER, (MERGES, MERGES_TABLE, MERGES_PLOT))
    methods = methods or [
        name
        for name, method in METHODS.items()
        if name != "private" and (method.needs == "nothing" or benchmark.training)
    ]
    points = compare_merges(benchmark, methods, counts, held_out, directory, jobs)
    rows = [point.record() for point in points]
    contents = {MERGES: json_bytes(rows), MERGES_TABLE: merges_table(points).encode()}
    write_files(directory, FRONTIER, contents | {MERGES_PLOT: plot_merges(points)})
    return points
