"""Markdown tables and plots of the frontier."""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from statistics import mean
from typing import TYPE_CHECKING

from ..merging import METHODS, find_method
from ..shown import markdown
from .evaluator import Scores
from .frontier import BASE as BASE_MODEL
from .frontier import Point
from .merges import BASE, UNMERGED, MergePoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TICKS = (1, 2, 5, 10, 20, 50, 100, 200)
COLORS = (  # matplotlib's default has ten, too few for all methods
    *("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink"),
    *("tab:gray", "olive", "cyan", "gold", "navy", "lime", "black"),
)
REFERENCES = {UNMERGED: "--", BASE: "-.", BASE_MODEL: "-."}  # lines without markers
NAMES = {  # others have their paper's
    UNMERGED: "separate adapters",
    **dict.fromkeys((BASE, BASE_MODEL), "base model alone"),
    "budget": "compress --budget",
    "budget, calibrated": "compress --budget --calibration",
    "plain": "plain int2, int4, int8",
    "average": "averaged into one",
    "ties": "TIES",
    "dare-ties": "DARE-TIES",
    "jd-full": "JD-Full",
    "jd-diag": "JD-Diag",
    "surgery": "Surgery",
}


def table(points: Sequence[Point]) -> str:
    """Format points as a Markdown table; the first two are the unmerged adapters and the base."""
    rows = [
        f"| {markdown(point.series)} "
        f"| {'' if point.label == point.series else markdown(point.label)} "
        f"| {point.share:.1%} | {100 * point.mean:.2f} | {_lost(point, points[0])} "
        f"| {100 * point.worst:.1f} "
        f"({markdown(point.worst_task)}) | {100 * mean(point.tokens.values()):.1f} "
        f"| {mean(point.nats.values()):.3f} | {100 * mean(point.chrf.values()):.1f} "
        f"| {100 * point.s_score(points[0]):.1f} |"
        for point in points
    ]
    head = [
        "| method | setting | share of fp16 | mean exact match % | lost, 95 % interval "
        "| worst task % | tokens right % | nats per token | chrF | S-score % |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


def _lost(point: Point, unmerged: Point) -> str:
    low, high = point.lost(unmerged)
    return "" if point is unmerged else f"{100 * low:.2f} to {100 * high:.2f}"


def plot(points: Sequence[Point]) -> bytes:
    """Plot mean exact match and S-scores against stored bytes; returns a PNG."""
    unmerged = points[0]
    return plotted(
        points,
        {
            "exact match, %": lambda point: point.mean,
            "S-score (chrF relative to the separate adapters), %": lambda x: x.s_score(unmerged),
        },
    )


def plotted(points: Sequence[Point], scores: Mapping[str, Callable[[Point], float]]) -> bytes:
    """Plot scores, by the titles of their panels, against stored bytes; returns a PNG."""
    lines: dict[str, list[Point]] = {}
    for point in sorted(points, key=lambda point: point.share):
        lines.setdefault(point.series, []).append(point)
    figure, panels = _figure()
    for axes, (title, score) in zip(panels, scores.items(), strict=True):
        axes.set_title(title)
        axes.set_prop_cycle(color=COLORS)
        for series, line in lines.items():
            x, y = zip(*((100 * point.share, 100 * score(point)) for point in line), strict=True)
            if series in REFERENCES:
                style = REFERENCES[series]
                axes.axhline(y[0], color="gray", ls=style, lw=1, label=_name(series))
            else:
                axes.plot(x, y, "o-", ms=4, label=_name(series))
        axes.set_xscale("log")
        axes.set_xticks(TICKS, labels=map(str, TICKS))
        axes.minorticks_off()
        axes.set_xlim(0.9, 110 * max(1, *(point.share for point in points)))
        axes.set_xlabel("stored bytes, % of the adapters in fp16")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return _png(figure)


def merges_table(points: Sequence[MergePoint]) -> str:
    """Format merges by number of tasks as Markdown: exact match / correct tokens, in percent."""
    counts = sorted({point.tasks for point in points})
    by_size = {(point.method, point.tasks): point for point in points}
    methods = list(dict.fromkeys(point.method for point in points))
    seen = [f"{count} tasks" for count in counts]
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


def plot_merges(points: Sequence[MergePoint]) -> bytes:
    """Plot exact match on the merged tasks, by whether a method keeps a part per task; a PNG."""
    counts = sorted({point.tasks for point in points})
    figure, panels = _figure()
    for axes, per_task in zip(panels, (False, True), strict=True):
        axes.set_title("a part per task" if per_task else "one model for all tasks")
        axes.set_prop_cycle(color=COLORS)
        for method in dict.fromkeys(point.method for point in points):
            line = [100 * point.held_in.exact for point in points if point.method == method]
            if method in REFERENCES:
                style = REFERENCES[method]
                axes.plot(counts, line, color="gray", ls=style, lw=1, label=_name(method))
            elif find_method(method).per_task == per_task:
                axes.plot(counts, line, "o-", ms=4, label=_name(method))
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, labels=map(str, counts))
        axes.set_ylim(-3, 103)
        axes.set_xlabel("tasks merged")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)
    panels[0].set_ylabel("exact match, %")
    return _png(figure)


def _name(method: str) -> str:
    """Return what the documentation calls a method."""
    if method in NAMES:
        return NAMES[method]
    return METHODS[method].paper.partition(",")[0]


def _figure() -> tuple["Figure", Sequence["Axes"]]:
    """Return a figure with two panels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes in panels:
        axes.grid(alpha=0.3)
    return figure, panels


def _png(figure: "Figure") -> bytes:
    content = BytesIO()
    figure.savefig(content, dpi=150)
    return content.getvalue()
