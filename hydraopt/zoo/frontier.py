"""Storage against quality on the zoo.

    python -m hydraopt.zoo.frontier -o DIR

merges the 40 adapters with HydraOpt for a range of K, evaluates every task, and writes
``results.json``, ``frontier.md`` and ``frontier.png``.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Annotated

import matplotlib
import typer

from ..adapters import AdapterSet
from ..files import output_directory, write_json
from ..merging import MergedAdapters, hydraopt
from . import load_adapters
from .evaluate import TEST_INPUTS, load_base, merged_exact_match, unmerged_exact_match

CLUSTERS = (1, 2, 4, 8, 16, 40)


@dataclass(frozen=True)
class Point:
    """One merge: its share of the adapters' fp16 bytes and its exact match over all tasks."""

    label: str
    share: float
    mean: float
    worst: float
    worst_task: str

    @classmethod
    def of(cls, label: str, share: float, scores: dict[str, float]) -> "Point":
        """Summarise the exact match of all tasks."""
        worst = min(scores, key=scores.__getitem__)
        return cls(label, share, mean(scores.values()), scores[worst], worst)


def frontier(adapters: AdapterSet, count: int) -> list[Point]:
    """Evaluate the unmerged adapters and HydraOpt for every K in ``CLUSTERS``."""
    model = load_base()
    points = [Point.of("unmerged", 1.0, unmerged_exact_match(adapters, model, count))]
    for clusters in CLUSTERS:
        merged: MergedAdapters = hydraopt(adapters, clusters=clusters)
        scores = merged_exact_match(merged, model, count)
        points.append(Point.of(f"K = {clusters}", merged.share, scores))
        print(row(points[-1]), flush=True)
    return points


def row(point: Point) -> str:
    """One line of the Markdown table."""
    return (
        f"| {point.label} | {point.share:.1%} | {100 * point.mean:.2f} | "
        f"{100 * point.worst:.1f} ({point.worst_task}) |"
    )


def table(points: Sequence[Point]) -> str:
    """The points as a Markdown table."""
    head = ["| HydraOpt | share of fp16 | mean exact match % | worst task % |", "|---|---|---|---|"]
    return "\n".join([*head, *map(row, points)]) + "\n"


def plot(points: Sequence[Point], path: Path) -> None:
    """Mean and worst exact match against storage share."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    unmerged, *merged = points
    shares = [100 * point.share for point in merged]
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    axes.plot(shares, [100 * p.mean for p in merged], "o-", label="HydraOpt, mean of all tasks")
    axes.plot(shares, [100 * p.worst for p in merged], "v:", label="HydraOpt, worst task")
    axes.axhline(100 * unmerged.mean, color="gray", ls="--", label="unmerged, mean")
    for point, share in zip(merged, shares, strict=True):
        place = (share, 100 * point.mean)
        axes.annotate(point.label, place, (-6, 8), textcoords="offset points", ha="right")
    axes.set_xscale("log")
    axes.set_xticks([2, 5, 10, 20, 50, 100], labels=["2", "5", "10", "20", "50", "100"])
    axes.minorticks_off()
    axes.set_xlim(1.2, 105)
    axes.set_ylim(-3, 106)
    axes.set_xlabel("stored bytes, % of the adapters' fp16 bytes (log scale)")
    axes.set_ylabel("exact match, %")
    axes.set_title("40 LoRA adapters: storage against quality")
    axes.legend(loc="center left")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write to.")],
    count: Annotated[int, typer.Option(help="Test inputs per task.")] = TEST_INPUTS,
    overwrite: bool = False,
) -> None:
    """Measure HydraOpt's storage and quality on the zoo for several K."""
    points = frontier(load_adapters(), count)
    with output_directory(output, "frontier.md", overwrite=overwrite) as staging:
        write_json(staging / "results.json", [asdict(point) for point in points])
        (staging / "frontier.md").write_text(table(points), encoding="utf-8")
        plot(points, staging / "frontier.png")


if __name__ == "__main__":
    typer.run(main)
