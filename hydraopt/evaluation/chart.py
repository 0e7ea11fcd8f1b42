"""Markdown tables and plots of the frontier."""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from statistics import mean
from typing import TYPE_CHECKING

from ..shown import markdown
from .evaluator import Scores
from .experts import BASE, UNMERGED, ExpertPoint
from .frontier import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER_SHARE = 52  # percent of fp16 that HydraOpt's paper keeps (arXiv 2507.17706)
TICKS = (1, 2, 5, 10, 20, 50, 100, 200)
COLORS = (  # matplotlib's default has ten, too few for all methods
    *("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink"),
    *("tab:gray", "olive", "cyan", "gold", "navy", "lime", "black"),
)
MARKERS = "osv^"  # one per cycle of twenty colours
ZOOM = 5  # lower limit of the zoomed panel, in points below the unmerged adapters


def table(points: Sequence[Point]) -> str:
    """Format points as a Markdown table; the first two are the unmerged adapters and the base."""
    rows = [
        f"| {markdown(point.series)} "
        f"| {'' if point.label == point.series else markdown(point.label)} "
        f"| {point.share:.1%} | {100 * point.mean:.2f} | {100 * point.worst:.1f} "
        f"({markdown(point.worst_task)}) | {100 * mean(point.tokens.values()):.1f} "
        f"| {mean(point.nats.values()):.3f} | {100 * mean(point.chrf.values()):.1f} "
        f"| {100 * point.s_score(points[0]):.1f} |"
        for point in points
    ]
    head = [
        "| method | setting | share of fp16 | mean exact match % | worst task % "
        "| tokens right % | nats per token | chrF | S-score % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


def plot(points: Sequence[Point]) -> bytes:
    """Plot mean exact match, a zoom on its top, and S-scores; returns a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    unmerged, base, *merged = points
    series: dict[str, list[Point]] = {}
    for point in sorted(merged, key=lambda point: point.share):
        series.setdefault(point.series, []).append(point)
    figure, panels = pyplot.subplots(1, 4, figsize=(19.5, 4.8), layout="constrained")
    shown = (
        ("mean of all tasks", lambda point: point.mean),
        (f"mean, the top {ZOOM} points", lambda point: point.mean),
        ("S-score: chrF, generated / unmerged", lambda point: point.s_score(unmerged)),
        ("the same of the worst task", lambda point: point.worst_s_score(unmerged)),
    )
    for axes, (title, score) in zip(panels, shown, strict=True):
        _panel(axes, series, score)
        axes.axhline(100 * score(unmerged), color="gray", ls="--", lw=1, label="unmerged")
        axes.axhline(100 * score(base), color="gray", ls="-.", lw=1, label="base model")
        axes.axvline(PAPER_SHARE, color="gray", ls=":", lw=1, label=f"{PAPER_SHARE} %: the paper's")
        axes.set_title(title)
    panels[1].set_ylim(100 * unmerged.mean - ZOOM, 100 * unmerged.mean + 0.5)
    panels[0].set_ylabel("exact match, %")
    panels[0].legend(fontsize=8)
    image = _png(figure)
    pyplot.close(figure)
    return image


def _panel(axes, series: Mapping[str, Sequence[Point]], score: Callable[[Point], float]) -> None:
    axes.set_prop_cycle(color=COLORS)
    for name, points in series.items():
        shares = [100 * point.share for point in points]
        values = [100 * score(point) for point in points]
        axes.plot(shares, values, "o-" if len(points) > 1 else "o", ms=4, label=name)
    axes.set_xscale("log")
    axes.set_xticks(TICKS, labels=map(str, TICKS))
    axes.minorticks_off()
    shares = [100 * point.share for points in series.values() for point in points]
    axes.set_xlim(0.9, max(110, 1.1 * max(shares)))
    axes.set_xlabel("stored bytes, % of the adapters' fp16 bytes")
    axes.grid(alpha=0.3)


def experts_table(points: Sequence[ExpertPoint]) -> str:
    """Format merges by number of experts as Markdown: exact match / correct tokens, in percent."""
    counts = sorted({point.experts for point in points})
    by_size = {(point.method, point.experts): point for point in points}
    methods = list(dict.fromkeys(point.method for point in points))
    seen = [f"{count} experts" for count in counts]
    head = ["method", *seen, *(f"unseen tasks, {name}" for name in seen)]
    rows = [
        [
            markdown(method),
            *(_cell(by_size[method, count].held_in) for count in counts),
            *(_cell(by_size[method, count].held_out) for count in counts),
        ]
        for method in methods
    ]
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(scores: Scores | None) -> str:
    return "" if scores is None else f"{100 * scores.exact:.1f} / {100 * scores.tokens:.1f}"


def plot_experts(points: Sequence[ExpertPoint]) -> bytes:
    """Plot scores on merged and on unseen tasks; returns a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = (
        ("merged tasks: answers right", "held_in", "exact"),
        ("merged tasks: tokens right", "held_in", "tokens"),
        ("unseen tasks: tokens right", "held_out", "tokens"),
    )
    figure, all_axes = pyplot.subplots(1, 3, figsize=(16, 5.4), layout="constrained")
    for axes, (title, tasks, score) in zip(all_axes, panels, strict=True):
        _experts_panel(axes, points, tasks, score, pyplot.cm.tab20)
        axes.set_title(title)
    all_axes[0].set_ylabel("%")
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    image = _png(figure)
    pyplot.close(figure)
    return image


def _experts_panel(
    axes, points: Sequence[ExpertPoint], tasks: str, score: str, colors: Callable[[int], object]
) -> None:
    for place, method in enumerate(dict.fromkeys(point.method for point in points)):
        line = [p for p in points if p.method == method and getattr(p, tasks) is not None]
        axes.plot(
            [point.experts for point in line],
            [100 * getattr(getattr(point, tasks), score) for point in line],
            color=colors(place % 20),
            marker=MARKERS[place // 20 % len(MARKERS)],
            ms=4,
            ls="--" if method in (BASE, UNMERGED) else "-",
            label=method,
        )
    counts = sorted({point.experts for point in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, labels=map(str, counts))
    axes.set_xlabel("experts merged")
    axes.grid(alpha=0.3)


def _png(figure: "Figure") -> bytes:
    content = BytesIO()
    figure.savefig(content, dpi=130)
    return content.getvalue()
