"""The frontier for people: a Markdown table and a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from .frontier import Point

PAPER_SHARE = 52  # percent of fp16 that HydraOpt's paper keeps (arXiv 2507.17706)
TICKS = (2, 5, 10, 20, 50, 100)
ZOOM = 5  # points below the unmerged adapters that the middle panel shows


def table(points: Sequence[Point]) -> str:
    """The points as a Markdown table."""
    rows = [
        f"| {point.series} | {'' if point.label == point.series else point.label} "
        f"| {point.share:.1%} | {100 * point.mean:.2f} | {100 * point.worst:.1f} "
        f"({point.worst_task}) |"
        for point in points
    ]
    head = [
        "| method | setting | share of fp16 | mean exact match % | worst task % |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


def plot(points: Sequence[Point], directory: Path) -> None:
    """Write ``frontier.png`` and ``frontier.svg``: mean, mean from close by, and worst task."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    unmerged, *merged = points
    series: dict[str, list[Point]] = {}
    for point in sorted(merged, key=lambda point: point.share):
        series.setdefault(point.series, []).append(point)
    figure, panels = pyplot.subplots(1, 3, figsize=(15, 4.8), layout="constrained")
    for axes, title, key in zip(
        panels,
        ("mean of all tasks", f"mean, the top {ZOOM} points", "worst task"),
        ("mean", "mean", "worst"),
        strict=True,
    ):
        _panel(axes, series, key)
        top = 100 * getattr(unmerged, key)
        axes.axhline(top, color="gray", ls="--", lw=1, label="unmerged")
        axes.axvline(PAPER_SHARE, color="gray", ls=":", lw=1, label=f"{PAPER_SHARE} %: the paper's")
        axes.set_title(title)
    panels[1].set_ylim(100 * unmerged.mean - ZOOM, 100 * unmerged.mean + 0.5)
    panels[0].set_ylabel("exact match, %")
    panels[0].legend(fontsize=8)
    for suffix in ("png", "svg"):
        figure.savefig(directory / f"frontier.{suffix}", dpi=130, metadata=_undated(suffix))
    pyplot.close(figure)


def _panel(axes, series: Mapping[str, Sequence[Point]], key: str) -> None:
    for name, points in series.items():
        shares = [100 * point.share for point in points]
        values = [100 * getattr(point, key) for point in points]
        axes.plot(shares, values, "o-" if len(points) > 1 else "o", ms=4, label=name)
    axes.set_xscale("log")
    axes.set_xticks(TICKS, labels=map(str, TICKS))
    axes.minorticks_off()
    axes.set_xlim(1.5, 105)
    axes.set_xlabel("stored bytes, % of the adapters' fp16 bytes")
    axes.grid(alpha=0.3)


def _undated(suffix: str) -> dict[str, None]:
    """So that equal points make equal files."""
    return {"Date": None} if suffix == "svg" else {}
