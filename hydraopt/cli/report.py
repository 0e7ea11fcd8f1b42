"""Print results as tables or JSON."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..shown import visible
from .records import describe, is_stored, of_modules, of_stored, of_tasks

if TYPE_CHECKING:
    from ..evaluation.frontier import Point
    from ..evaluation.merges import MergePoint
    from ..evaluation.program import Evaluation
    from ..lowering.bundle import Exported
    from ..merging import Method

LIST_LIMIT = 8
WIDE = 160
MEASURES = {  # of an evaluation -> heading, factor and format
    "tokens": ("tokens %", 100, ".1f"),
    "accuracy": ("right %", 100, ".1f"),
    "nats": ("nats", 1, ".3f"),
    "exact": ("exact %", 100, ".1f"),
    "chrf": ("chrF", 100, ".1f"),
}


def print_json(value: object) -> None:
    """Print one line of JSON.

    Control characters, and characters that the stream cannot encode, are escaped; NaN and
    infinity are null.
    """
    text = json.dumps(_finite(value), ensure_ascii=False)
    if not (text.isascii() and text.isprintable()):
        encoding = sys.stdout.encoding or "utf-8"
        text = "".join(x if _shows(x, encoding) else json.dumps(x)[1:-1] for x in text)
    print(text)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(item) for item in value]
    return value


def _shows(character: str, encoding: str) -> bool:
    try:
        return character == visible(character.encode(encoding).decode(encoding))
    except UnicodeError:
        return False


def plain(value: object) -> Text:
    """Return text for a console or table cell, without interpreting markup."""
    return Text(visible(str(value)))


def show(values: Mapping[str, object], as_json: bool) -> None:
    """Print one record; a table leaves out empty fields, JSON has them all."""
    if as_json:
        print_json(values)
        return
    table = Table(show_header=False, box=None)
    for key, value in _filled(values).items():
        table.add_row(key.replace("_", " "), plain(_text(key, value)))
    Console().print(table)


def _filled(values: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in values.items() if value not in (None, "", [], (), {})}


def _text(key: str, value: object) -> str:
    if "share_of" in key:
        return f"{value:.1%}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(k, v)}" for k, v in _filled(value).items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        shown = ", ".join(_text("", item) for item in value[:LIST_LIMIT])
        return shown if len(value) <= LIST_LIMIT else f"{shown}, … ({len(value)} in all)"
    return f"{value:,}" if isinstance(value, int) else str(value)


def show_info(path: Path, as_json: bool) -> None:
    """Print :func:`describe`'s record; for compressed or merged adapters also tasks and modules."""
    if not is_stored(path):
        show(describe(path), as_json)
        return
    from ..packing import open_stored

    merged = open_stored(path)
    record, tasks, modules = of_stored(merged), of_tasks(merged), of_modules(merged)
    if as_json:
        show(record | {"per_task": tasks, "per_module": modules}, as_json)
        return
    show_table(tasks, "Tasks")
    show_table(modules, "Modules")
    show(record, as_json)


def show_table(records: list[dict], title: str) -> None:
    """Print records that have the same fields."""
    table = Table(*(key.replace("_", " ") for key in records[0]), title=title)
    for record in records:
        values = record.values()
        table.add_row(*(plain(f"{x:,}" if isinstance(x, int) else x) for x in values))
    _console().print(table)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDE)  # do not wrap names in a file


def show_methods(methods: Mapping[str, "Method"], as_json: bool) -> None:
    """Print the merging methods as a table, or as JSON: name -> record."""
    records = {name: method.describe() for name, method in methods.items()}
    if as_json:
        print_json(records)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("method", "paper", "result", "data", "labels", "storage", "options"):
        table.add_column(heading, no_wrap=heading == "method")
    for name, record in records.items():
        result = "per task" if record["per_task"] else "one model"
        needs = ("yes" if record[key] else "no" for key in ("needs_data", "needs_labels"))
        settings = ", ".join(
            key if value is None else f"{key}={json.dumps(value)}"
            for key, value in record["options"].items()
        )
        row = (name, record["paper"], result, *needs, record["storage"], settings)
        table.add_row(*map(plain, row))
    Console().print(table)
    print("storage: fp16 values per module of shape m x n in the method's own representation;")
    print("T tasks, R rank, K clusters, d hidden size.")
    print("dense results are stored as factors of rank R.")


def show_export(exported: "Exported", record: dict, as_json: bool) -> None:
    """Print a bundle's record and its first method's delegation table."""
    table = next(iter(exported.delegation.values()))
    if as_json:
        rows = {row.operator: [row.delegated, row.not_delegated] for row in table}
        show(record | {"delegation": rows}, as_json)
        return
    grid = Table("operator", "XNNPACK", "portable", title="Delegation")
    for row in table:
        grid.add_row(*map(plain, (row.operator, row.delegated, row.not_delegated)))
    Console().print(grid)
    show(record, as_json)


def show_points(points: "Sequence[Point]", as_json: bool) -> None:
    """Print the points of a frontier."""
    if as_json:
        rows = [
            {"method": p.series, "setting": p.label, "share_of_fp16": p.share} | p.summary()
            for p in points
        ]
        print_json(rows)
        return
    grid = Table("method", "setting", "share of fp16", "mean %", "worst %", "worst task")
    for p in points:
        numbers = f"{p.share:.1%}", f"{100 * p.mean:.2f}", f"{100 * p.worst:.1f}"
        grid.add_row(*map(plain, (p.series, p.label, *numbers, p.worst_task)))
    Console().print(grid)


def show_merges(points: "Sequence[MergePoint]", as_json: bool) -> None:
    """Print merges by number of merged adapters."""
    if as_json:
        print_json([point.record() for point in points])
        return
    columns = ("own tasks %", "tokens %", "unseen tasks %", "tokens %")
    grid = Table("tasks", "method", *columns)
    for point in points:
        own, unseen = point.held_in, point.held_out
        scores = [
            own.exact,
            own.tokens,
            *((unseen.exact, unseen.tokens) if unseen else (None,) * 2),
        ]
        cells = ("" if score is None else f"{100 * score:.1f}" for score in scores)
        grid.add_row(*map(plain, (point.tasks, point.method, *cells)))
    Console().print(grid)


def show_evaluation(evaluation: "Evaluation", as_json: bool) -> None:
    """Print a bundle's scores by task, their means and the worst task."""
    record = evaluation.record()
    if as_json:
        print_json(record)
        return
    runs = list(evaluation.scored)
    headings = [MEASURES[name][0] for name in evaluation.scored["program"].measures]
    of_run = ["run"] if len(runs) > 1 else []
    grid = Table("task", "examples", *of_run, *headings, *(["S %"] if evaluation.kept else []))
    for task, row in record["tasks"].items():
        _add_scores(grid, [task, row["examples"]], row, runs)
    grid.add_section()
    _add_scores(grid, ["mean", ""], record["mean"], runs)
    _console().print(grid)
    worst = record["worst"]
    line = f"worst task: {worst['program']}"
    _console().print(plain(f"{line}; lowest S: {worst['s']}" if "s" in worst else line))


def _add_scores(grid: Table, first: list, row: Mapping, runs: Sequence[str]) -> None:
    """Add one line for each run of a task; S stands beside the program's."""
    for run in runs:
        cells = [*first, *([run] if len(runs) > 1 else [])]
        for measure, value in row[run].items():
            _, factor, form = MEASURES[measure]
            cells.append(format(factor * value, form))
        if run == runs[0] and "s" in row:
            cells.append("–" if row["s"] is None else f"{row['s']:.1f}")
        grid.add_row(*map(plain, cells))
        first = [""] * len(first)
