"""Tables of results, for the terminal, Markdown and the HTML page."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..shown import markdown as escaped
from .results import Measurements
from .variants import BUNDLE

MB = 1e6
NAMES = {
    BUNDLE: "this bundle",
    "baked": "baked into the base",
    "constants": "LoRA as constants",
    "ptd": ".pte + .ptd per task",
    "adapters": "base .pte + PEFT adapters",
}
ALONE = {
    BUNDLE: "shared factors and packs",
    "adapters": "PEFT adapters",
}  # if programs are not counted
MISSING = "–"
OPERATORS = 10
TASK_COUNTS = (1, 10, 100)


@dataclass(frozen=True)
class Table:
    """A table with names in the first column and numbers in all others."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def markdown(self) -> str:
        """Return the table as Markdown, with its title as a heading."""
        lines = [f"## {self.title}", ""]
        lines += [_row(self.head), f"| --- |{' ---: |' * (len(self.head) - 1)}"]
        lines += [_row(row) for row in self.rows]
        return "\n".join([*lines, *(["", escaped(self.note)] if self.note else []), ""])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"


def all_tables(results: Mapping) -> list[Table]:
    """Return every table that the results have data for."""
    measured = Measurements(results)
    tables = [_device(results), _outputs(results)]
    if measured.by_key:
        tables += [_latency(measured), _swap(measured), _threads(measured), _memory(measured)]
    tables += [_parts(results), _tasks(results), _operators(results)]
    return [table for table in tables if table.rows]


def headline(results: Mapping) -> list[str]:
    """Summarize the results in a few sentences."""
    measured, device = Measurements(results), results["device"]
    lines = [
        f"{results['bundle']['name']}: {results['bundle']['tasks']} tasks of "
        f"{results['bundle']['base_model']} on {device['model']} ({device['device_type']}, "
        f"{device['abi']}, {device['os']}, kernel {device['kernel']})."
    ]
    if results["lost"]:
        lines.append(f"Partial: {results['lost']}.")
    if not results["timing_valid"]:
        return lines
    swap, reload = measured.get(BUNDLE, "swap_ms"), measured.get("ptd", "swap_ms")
    if swap:
        lines.append(f"A switch takes {_ms(swap)} ms (p50), {swap['p95']:.2f} ms (p95).")
    if swap and reload:
        ratio = reload["median"] / swap["median"]
        lines.append(f"Reloading .pte + .ptd takes {ratio:.0f} times as long.")
    return lines


def variant_names(sizes: Mapping) -> Mapping[str, str]:
    """Return the display names of the variants whose sizes are compared."""
    return NAMES if sizes["programs_included"] else ALONE


def _device(results: Mapping) -> Table:
    device = results["device"]
    keys = ("model", "device_type", "abi", "os", "kernel", "cores")
    rows = [(key.replace("_", " "), str(device[key])) for key in keys]
    rows.append(("memory", f"{device['memory_bytes'] / MB:,.0f} MB"))
    rows.append(("status", results["status"]))
    rows.append(("times are valid", "yes" if results["timing_valid"] else "no"))
    for when, figures in results["conditions"].items():
        known = [f"{key} {value:.2g}" for key, value in figures.items() if value is not None]
        rows.append((f"conditions {when}", ", ".join(known) or "unknown"))
    return Table("Device", ("", "value"), rows)


def _outputs(results: Mapping) -> Table:
    rows = [
        (
            NAMES[variant],
            str(x["tasks"]),
            f"{x['largest_difference']:.1e} ({x['worst_task']})",
            f"{x['tolerance']:.0e}",
        )
        for variant, x in results["outputs"].items()
    ]
    note = "Difference of logits, as a share of the task's largest logit."
    head = ("outputs equal to this machine's", "tasks", "largest difference", "allowed")
    return Table("Outputs", head, rows, note)


def _latency(measured: Measurements) -> Table:
    figures: dict[str, Callable[[str], str]] = {
        "load, cold, ms": lambda name: _ms(measured.get(name, "load_cold_ms")),
        "load, warm, ms": lambda name: _ms(measured.get(name, "load_warm_ms")),
        "first inference, ms": lambda name: _ms(measured.get(name, "first_inference_ms")),
        "switch, p50, ms": lambda name: _ms(measured.get(name, "swap_ms")),
        "switch, p95, ms": lambda name: _ms(measured.get(name, "swap_ms"), "p95"),
        "first token after it, ms": lambda name: _ms(measured.get(name, "first_token_ms")),
        "prefill, tokens/s": lambda name: _speed(measured, name, "prefill_ms"),
        "decode, tokens/s": lambda name: _speed(measured, name, "decode_ms"),
        "prefill against baked": lambda name: _overhead(measured, name, "prefill_ms"),
        "decode against baked": lambda name: _overhead(measured, name, "decode_ms"),
    }
    names = measured.variants
    rows = [[figure, *(cell(name) for name in names)] for figure, cell in figures.items()]
    settings = measured.results["settings"]
    note = (
        f"{measured.threads[0]} thread(s), {settings['rounds']} round(s) in turns, a prompt of "
        f"{settings['prompt']} tokens. The alternatives switch by reloading. "
        "Against baked: median of the rounds, and their range."
    )
    return Table("Latency", ("", *(NAMES[name] for name in names)), rows, note)


def _swap(measured: Measurements) -> Table:
    parts = {
        "map the pack": "swap_map_ms",
        "unpack it": "swap_unpack_ms",
        "switch (both)": "swap_ms",
        "first token after it": "first_token_ms",
    }
    rows = [
        (name, str(x["count"]), *(f"{x[key]:.3f}" for key in ("p5", "median", "p95")))
        for name, metric in parts.items()
        if (x := measured.get(BUNDLE, metric))
    ]
    return Table("A switch, in ms", ("", "samples", "p5", "p50", "p95"), rows)


def _threads(measured: Measurements) -> Table:
    rows = [
        (
            NAMES[variant],
            str(threads),
            _speed(measured, variant, "prefill_ms", threads),
            _spread(measured.get(variant, "prefill_ms", threads)),
            _speed(measured, variant, "decode_ms", threads),
            _spread(measured.get(variant, "decode_ms", threads)),
        )
        for variant in measured.variants
        for threads in measured.threads
        if measured.get(variant, "decode_ms", threads)
    ]
    head = ("", "threads", "prefill tok/s", "spread", "decode tok/s", "spread")
    return Table("Threads", head, rows, "Spread: half of p95 − p5, as a share of the median.")


def _memory(measured: Measurements) -> Table:
    rows = [
        (NAMES[variant], f"{peak['median'] / MB:,.1f}", f"{growth['p95'] / 1024:,.0f}")
        for variant in measured.variants
        if (peak := measured.get(variant, "peak_bytes"))
        and (growth := measured.get(variant, "growth_bytes"))
    ]
    settings = measured.results["settings"]
    note = (
        f"Growth over {settings['switches']} switches of the bundle, {settings['reloads']} "
        "reloads of the others: p95 of the rounds."
    )
    return Table("Memory", ("", "peak RSS, MB", "growth, KiB"), rows, note)


def _parts(results: Mapping) -> Table:
    rows = [
        (name.replace("_", " "), f"{size:,}") for name, size in results["sizes"]["bundle"].items()
    ]
    return Table("Size of the bundle", ("", "bytes"), rows)


def _tasks(results: Mapping) -> Table:
    sizes = results["sizes"]
    counts = sorted({*TASK_COUNTS, sizes["tasks"]})
    rows = [
        (
            variant_names(sizes)[name],
            *(f"{(size['fixed'] + count * size['per_task']) / MB:,.2f}" for count in counts),
            _crossover(name, size),
        )
        for name, size in sizes["variants"].items()
    ]
    head = ("", *(f"{count} tasks, MB" for count in counts), "bundle smaller from")
    note = f"Separate adapters: {sizes['separate_adapters_counted']}."
    if not sizes["programs_included"]:
        note += " Without programs: profile with a base model to count them."
    return Table("Size against number of tasks", head, rows, note)


def _crossover(name: str, size: Mapping) -> str:
    if name == BUNDLE:
        return MISSING
    start = size["bundle_smaller_from"]
    return "never" if start is None else f"{start} task{'s' if start > 1 else ''}"


def _operators(results: Mapping) -> Table:
    rows = [
        (
            NAMES[variant],
            f"{record['operator']}",
            "XNNPACK" if record["delegated"] else "portable",
            str(record["calls"]),
            f"{record['ms']:.4f}",
        )
        for variant, records in results["operators"].items()
        for record in records[:OPERATORS]
    ]
    note = "Of one decoded token with one thread, in a separate trace; tracing itself takes time."
    return Table("Operators", ("", "operator", "runs in", "calls", "ms"), rows, note)


def _ms(row: Mapping | None, key: str = "median") -> str:
    if row is None:
        return MISSING
    return f"{row[key]:.3f}" if row[key] < 1 else f"{row[key]:,.2f}"


def _speed(measured: Measurements, name: str, metric: str, threads: int | None = None) -> str:
    row = measured.get(name, metric, threads)
    tokens = measured.results["settings"]["prompt"] if metric == "prefill_ms" else 1
    return MISSING if row is None else f"{1000 * tokens / row['median']:,.1f}"


def _spread(row: Mapping | None) -> str:
    return MISSING if row is None else f"±{(row['p95'] - row['p5']) / 2 / row['median']:.0%}"


def _overhead(measured: Measurements, name: str, metric: str) -> str:
    ratios = sorted(measured.overhead(name, metric, "baked", measured.threads[0]))
    if name == "baked" or not ratios or not measured.results["timing_valid"]:
        return MISSING
    middle = ratios[len(ratios) // 2]
    return f"{middle:+.1%} ({ratios[0]:+.1%} to {ratios[-1]:+.1%})"


def markdown(results: Mapping) -> str:
    """Return the whole report as Markdown."""
    return "\n".join(_sections(results))


def _sections(results: Mapping) -> Iterator[str]:
    yield f"# Profile of {escaped(results['bundle']['name'])}\n"
    yield escaped(" ".join(headline(results))) + "\n"
    yield from (f"- {escaped(note)}" for note in results["notes"])
    yield ""
    yield from (table.markdown() for table in all_tables(results))
