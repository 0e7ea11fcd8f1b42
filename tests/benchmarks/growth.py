"""Measure how time and memory of compressing and merging grow, and draw it.

    python tests/benchmarks/growth.py [-o docs/results/merging/growth.json]

One number at a time is changed: tasks, rank, modules, and cores; the rest is as in
``method_costs.py``, whose rows are measured, with one layer. The picture lies beside the results.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import matplotlib.pyplot as plt
import typer
from method_costs import BARE, COMPRESS, MODULES, RANK, TASKS, alone, write

from hydraopt.files import replaced_file, write_json

ROWS = (BARE, COMPRESS, "average")
POINTS: dict[str, tuple[int, ...]] = {
    "tasks": (10, 40, 160),
    "rank": (4, 8, 16),
    "layers": (1, 2, 4),
    "jobs": (1, 2),
}
SHOWN = {"seconds": ("seconds", 1.0), "growth_bytes": ("MB", 1e-6)}


def measured(of: str, number: int) -> dict[str, Any]:
    """All rows with one number changed."""
    shape = {"tasks": TASKS, "rank": RANK, "layers": 1} | {of: number}
    jobs = shape.pop("jobs", None)
    with TemporaryDirectory() as directory:
        paths = write(Path(directory), **shape)
        return {name: alone(name, paths, shape["layers"], jobs) for name in ROWS}


def draw(found: dict[str, dict[int, dict]], path: Path) -> None:
    """A column for each number that changes, a row for time and one for memory."""
    figure, axes = plt.subplots(2, len(found), figsize=(11, 5.5), sharey="row")
    for column, (of, points) in enumerate(found.items()):
        for row, (field, (unit, scale)) in enumerate(SHOWN.items()):
            axis = axes[row][column]
            for name in ROWS:
                values = [scale * point[name][field] for point in points.values()]
                axis.plot(list(points), values, marker="o", label=name)
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            axis.set_xticks(list(points), [str(x) for x in points])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
            axis.set_xlabel(f"{of} of {MODULES} modules" if of == "layers" else of)
            if not column:
                axis.set_ylabel(unit)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="upper center", ncols=len(ROWS))
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    figure.savefig(path, dpi=110)


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON to write.")] = Path(
        "docs/results/merging/growth.json"
    ),
) -> None:
    """Measure and draw."""
    found: dict[str, dict[int, dict]] = {of: {} for of in POINTS}
    for of, numbers in POINTS.items():
        for number in numbers:
            found[of][number] = measured(of, number)
            print(of, number, json.dumps(found[of][number]), flush=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(output) as staging:
        write_json(staging, found)
    draw(found, output.with_suffix(".png"))


if __name__ == "__main__":
    typer.run(main)
