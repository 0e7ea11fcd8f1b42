"""Measure how time and memory of compressing and merging grow, and draw it.

    python tests/benchmarks/growth.py [-o docs/results/merging/growth.json]

From 40 random adapters of r = 16 on the four modules of a layer of Llama-3.2-1B's width, on one
core, the number of tasks, of modules or of cores is changed, or the rank. Rows are those of
``method_costs.py``, each in a process of its own. The picture, beside the results, has seconds of
the processor, which other work on the machine changes least.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import matplotlib.pyplot as plt
import typer
from matplotlib.axes import Axes
from method_costs import LEAST, MODULES, RANK, TASKS, alone, write

from hydraopt.files import replaced_file, write_json

PEER, MOST = "PEFT svd", 80  # where tasks change, up to 6 GB
ROWS = (LEAST, "average", "hydraopt")
AXES: Mapping[str, tuple[int, ...]] = {
    "tasks": (10, 20, 40, 80, 160),
    "rank": (4, 8, 16),
    "modules": (MODULES, 2 * MODULES),
    "cores": (1, 2),
}
USUAL = {"tasks": TASKS, "rank": RANK, "modules": MODULES, "cores": 1}
SHOWN = {"cpu_seconds": ("seconds of the processor", 1.0), "growth_bytes": ("MB", 1e-6)}


@cache
def measured(tasks: int, rank: int, modules: int, cores: int) -> dict[str, dict[str, float]]:
    """All rows, of so many adapters of a rank."""
    layers = modules // MODULES
    peer = (rank, modules, cores) == (RANK, MODULES, 1) and tasks <= MOST
    rows = (*ROWS, PEER) if peer else ROWS
    with TemporaryDirectory() as directory:
        paths = write(Path(directory), tasks, rank, layers)
        return {name: alone(name, paths, layers, cores) for name in rows}


def panel(axis: Axes, points: Mapping[int, Any], field: str, scale: float) -> None:
    """A field of every row that was measured for more than one number."""
    for name in (*ROWS, PEER):
        numbers = [number for number, point in points.items() if name in point]
        if len(numbers) > 1:
            values = [scale * points[number][name][field] for number in numbers]
            axis.plot(numbers, values, marker="o", label=name)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(list(points), [str(x) for x in points])
    axis.minorticks_off()
    axis.grid(alpha=0.3)


def draw(found: Mapping[str, Mapping[int, Any]], path: Path) -> None:
    """A column for each number that changes, a row for time and one for memory."""
    figure, axes = plt.subplots(len(SHOWN), len(found), figsize=(11, 5.5), sharey="row")
    for row, (field, (unit, scale)) in zip(axes, SHOWN.items(), strict=True):
        row[0].set_ylabel(unit)
        for axis, (of, points) in zip(row, found.items(), strict=True):
            panel(axis, points, field, scale)
            axis.set_xlabel(of)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", ncols=len(names))
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON to write.")] = Path(
        "docs/results/merging/growth.json"
    ),
) -> None:
    """Measure and draw."""
    found: dict[str, dict[int, dict]] = {of: {} for of in AXES}
    for of, numbers in AXES.items():
        for number in numbers:
            found[of][number] = measured(**(USUAL | {of: number}))
            print(of, number, json.dumps(found[of][number]), flush=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(output) as staging:
        write_json(staging, found)
    draw(found, output.with_suffix(".png"))


if __name__ == "__main__":
    typer.run(main)
