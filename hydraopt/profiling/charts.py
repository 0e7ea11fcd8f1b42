"""Plots of results."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from .results import Measurements
from .tables import MB, NAMES, variant_names
from .variants import BUNDLE

COLORS = {
    BUNDLE: "#0a6e4e",
    "baked": "#7f7f7f",
    "constants": "#c44e52",
    "ptd": "#dd8452",
    "adapters": "#4c72b0",
}
BARS = 12  # operators


def plot_all(results: Mapping, directory: Path) -> dict[str, str]:
    """Write every plot that the results have data for as PNG; return captions by file name."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    plots: dict[str, tuple[Callable, str]] = {
        "size.png": (_size, "Bytes on the phone against the number of tasks."),
        "switch.png": (_switch, "Switching tasks: every sample of every round."),
        "decode.png": (
            _decode,
            "Decode with and without an adapter: median, and range of the rounds' medians.",
        ),
        "operators.png": (_operators, "Time of operators in one decoded token."),
    }
    written = {}
    for name, (draw, caption) in plots.items():
        figure, axes = pyplot.subplots(figsize=(7.5, 4.5), layout="constrained")
        if draw(results, axes):
            figure.savefig(directory / name, dpi=130)
            written[name] = caption
        pyplot.close(figure)
    return written


def _size(results: Mapping, axes) -> bool:
    sizes = results["sizes"]
    counts = np.arange(1, max(10, 2 * sizes["tasks"]) + 1)
    for name, size in sizes["variants"].items():
        total = (size["fixed"] + counts * size["per_task"]) / MB
        width = 2.5 if name == BUNDLE else 1.5
        axes.plot(counts, total, color=COLORS[name], lw=width, label=variant_names(sizes)[name])
        start = size["bundle_smaller_from"]
        if start and 1 < start <= counts[-1]:
            axes.plot(start, total[start - 1], "o", color=COLORS[name])
            axes.annotate(
                f"smaller from {start} tasks",
                (start, total[start - 1]),
                xytext=(6, -12),
                textcoords="offset points",
                fontsize=8,
                color=COLORS[name],
            )
    axes.axvline(sizes["tasks"], color="black", lw=0.8, ls=":")
    axes.set(xlabel="tasks", ylabel="MB", yscale="log", xlim=(1, counts[-1]))
    _plain_ticks(axes.yaxis, *axes.get_ylim())
    _finish(axes)
    return True


def _switch(results: Mapping, axes) -> bool:
    measured = Measurements(results)
    rows = {name: measured.get(name, "swap_ms") for name in measured.variants}
    times = {name: row["samples"] for name, row in rows.items() if row}
    if not times:
        return False
    every = [sample for samples in times.values() for sample in samples]
    bins = np.geomspace(min(every) * 0.95, max(every) * 1.05, 70)
    for name, samples in times.items():
        what = "switch" if name == BUNDLE else "reload"
        weights = np.full(len(samples), 100 / len(samples))
        label = f"{NAMES[name]}: {what}, p50 {np.median(samples):.2f} ms"
        axes.hist(samples, bins, weights=weights, color=COLORS[name], alpha=0.7, label=label)
    axes.set(xlabel="ms", ylabel="% of the samples", xscale="log")
    _plain_ticks(axes.xaxis, bins[0], bins[-1])
    _finish(axes)
    return True


def _plain_ticks(axis, low: float, high: float) -> None:
    """Set ticks such as 0.1, 0.2, 0.5, 1; the default has powers of ten only."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)


def _decode(results: Mapping, axes) -> bool:
    measured = Measurements(results)
    if not measured.by_key:
        return False
    width = 0.8 / len(measured.variants)
    for place, name in enumerate(measured.variants):
        found = [measured.get(name, "decode_ms", threads) for threads in measured.threads]
        rows = [row for row in found if row is not None]
        if len(rows) < len(found):
            continue
        x = np.arange(len(rows)) + (place - (len(measured.variants) - 1) / 2) * width
        middle = np.array([row["median"] for row in rows])
        low = middle - [min(row["round_medians"]) for row in rows]
        high = [max(row["round_medians"]) for row in rows] - middle
        label = "without adapter (baked)" if name == "baked" else NAMES[name]
        axes.bar(x, middle, width, yerr=(low, high), capsize=3, color=COLORS[name], label=label)
    axes.set_xticks(range(len(measured.threads)), labels=map(str, measured.threads))
    axes.set(xlabel="threads", ylabel="ms per decoded token")
    _finish(axes)
    return True


def _operators(results: Mapping, axes) -> bool:
    operators = results["operators"]
    if BUNDLE not in operators:
        return False
    times = {variant: _by_operator(records) for variant, records in operators.items()}
    names = sorted(times[BUNDLE], key=times[BUNDLE].__getitem__)[-BARS:]
    height = 0.8 / len(times)
    for place, (variant, own) in enumerate(reversed(times.items())):
        y = np.arange(len(names)) + (place - (len(times) - 1) / 2) * height
        values = [own.get(name, 0) for name in names]
        axes.barh(y, values, height, color=COLORS[variant], label=NAMES[variant])
    axes.set_yticks(range(len(names)), labels=names, fontsize=8, parse_math=False)
    axes.set_xlabel("ms in one decoded token")
    _finish(axes)
    axes.legend(fontsize=8, loc="lower right", reverse=True)
    return True


def _by_operator(records: list[Mapping]) -> dict[str, float]:
    times: dict[str, float] = {}
    for record in records:
        name = record["operator"] + ("" if record["delegated"] else " (portable)")
        times[name] = times.get(name, 0) + record["ms"]
    return times


def _finish(axes) -> None:
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8)
