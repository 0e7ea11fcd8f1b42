"""``hydraopt frontier``: the bundled zoo or a user's adapters, evaluated, tabulated and plotted."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .adapters import read_adapters
from .errors import OutputError, UsageError
from .evaluation import read_examples
from .evaluation.chart import plot, table
from .evaluation.frontier import POINTS, Point, frontier
from .files import replaced_file, write_json

RESULTS, TABLE = "results.json", "frontier.md"


def write_frontier(
    directory: Path,
    sources: Sequence[str],
    base: str | None,
    data: Path | None,
    methods: Sequence[str],
    inputs: int,
    jobs: int | None,
) -> list[Point]:
    """Evaluate and write results.json, frontier.md, frontier.png and frontier.svg.

    Raises:
        UsageError: adapters without their base or data, or the reverse.
        OutputError: ``directory`` holds something else, or cannot be written.
        HydraOptError: as the steps raise it.
    """
    if bool(sources) != bool(base) or bool(sources) != bool(data):
        raise UsageError("pass ADAPTERS with --base and --data, or none of them for the zoo")
    if directory.exists() and any(directory.iterdir()) and not (directory / POINTS).is_dir():
        raise OutputError(f"output {directory} holds other files; choose another output")
    if sources:
        adapters = read_adapters(sources)
        examples = read_examples(data, adapters.tasks)
    else:
        from .zoo import BASE, load_adapters
        from .zoo.tasks import test_examples

        adapters, base = load_adapters(), str(BASE)
        examples = {task: test_examples(task, inputs) for task in adapters.tasks}
    jobs = jobs or os.cpu_count() or 1
    points = frontier(adapters, base, examples, methods, directory, jobs)
    with replaced_file(directory / RESULTS) as staging:
        write_json(staging, [asdict(point) | summary(point) for point in points])
    with replaced_file(directory / TABLE) as staging:
        staging.write_text(table(points), encoding="utf-8")
    plot(points, directory)
    return points


def summary(point: Point) -> dict:
    """What a table shows of a point."""
    return {"mean": point.mean, "worst": point.worst, "worst_task": point.worst_task}
