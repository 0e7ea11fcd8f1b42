"""Draw the README's picture, storage against quality, from results.json.

PYTHONPATH=tests/benchmarks python -m llm_zoo.picture docs/results/llm/results.json \
  -o docs/images/frontier.png
"""

import json
from pathlib import Path
from typing import Annotated

import typer

SIZE, DPI = (7.2, 4.0), 160  # inches; pixels per inch
LINES = {
    "budget": ("hydraopt compress --budget", "tab:blue", (36, -10)),
    "plain": ("plain int2, int4, int8", "tab:orange", (-6, -22)),
}
POINTS = {
    "average": ("averaged into one", (8, 6)),
    "ties": ("TIES", (8, -4)),
    "knots": ("KnOTS", (8, -4)),
    "jd-full": ("JD-Full", (8, -8)),
}
TICKS = (1, 2, 5, 10, 20, 50, 100)


def draw(points: list[dict], path: Path) -> None:
    """Draw mean S-scores (y) against stored bytes (x) of the methods that are named above.

    The file's description has all points' places as JSON.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=SIZE, layout="constrained")
    for series, (label, color, offset) in LINES.items():
        line = [point for point in points if point["series"] == series]
        axes.plot(*zip(*map(place, line), strict=True), "o-", color=color)
        axes.annotate(label, place(line[0]), offset, textcoords="offset points", color=color)
    for point in points:
        if point["series"] in POINTS:
            label, offset = POINTS[point["series"]]
            axes.plot(*place(point), "o", color="tab:gray")
            axes.annotate(label, place(point), offset, textcoords="offset points", color="dimgray")
    (base,) = (point for point in points if point["series"] == "base model")
    for height, label in ((100, "separate adapters, fp16"), (place(base)[1], "base model alone")):
        axes.axhline(height, color="gray", ls="--", lw=1)
        axes.text(1, height + 1, label, color="dimgray")
    axes.set_xscale("log")
    axes.set_xticks(TICKS, labels=[f"{tick} %" for tick in TICKS])
    axes.minorticks_off()
    axes.set_ylim(40, 106)
    axes.set_xlabel("stored bytes, relative to the adapters in fp16")
    axes.set_ylabel("S-score, %")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=DPI, metadata={"Description": json.dumps([*map(place, points)])})
    pyplot.close(figure)


def place(point: dict) -> tuple[float, float]:
    """Where a point lies: percent of the bytes, percent of the S-score."""
    return 100 * point["share"], 100 * point["s_score"]


def main(
    results: Annotated[Path, typer.Argument(help="results.json of `hydraopt frontier`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG to write.")],
) -> None:
    """Draw the picture."""
    draw(json.loads(results.read_text(encoding="utf-8")), output)


if __name__ == "__main__":
    typer.run(main)
