"""``hydraopt frontier``: the bundled zoo or a user's adapters, evaluated, tabulated and plotted."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .adapters import read_adapters
from .errors import OutputError, UsageError
from .evaluation.chart import plot, table
from .evaluation.frontier import POINTS, Point, frontier
from .files import replaced_file, write_json
from .training import read_examples

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
    ours = (directory / POINTS).is_dir() or (directory / RESULTS).exists()
    if directory.exists() and any(directory.iterdir()) and not ours:
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
        write_json(staging, [asdict(point) | point.summary() for point in points])
    with replaced_file(directory / TABLE) as staging:
        staging.write_text(table(points), encoding="utf-8")
    plot(points, directory)
    return points
