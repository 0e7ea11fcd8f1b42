"""What ``hydraopt info`` shows of merged adapters: errors per task and module, and the bytes."""

import sys
from collections.abc import Mapping
from statistics import mean

from rich.console import Console
from rich.table import Table

from .merging import MergedAdapters
from .packing import CodedAdapters, ModuleLayout

WIDE = 160


def of_tasks(merged: MergedAdapters | CodedAdapters) -> list[dict]:
    """A record per task: mean and largest relative error over its modules, bytes of its pack."""
    rows = []
    for task in merged.tasks:
        errors = merged.errors.get(task, {})
        worst = max(errors, key=errors.__getitem__, default=None)
        row = {"task": task, **_errors(errors), "worst_module": worst}
        if isinstance(merged, CodedAdapters):
            row["pack_bytes"] = len(merged.payloads[task])
        rows.append(row)
    return rows


def of_modules(merged: MergedAdapters | CodedAdapters) -> list[dict]:
    """A record per module: relative error over its tasks, and where its bytes are."""
    rows = []
    for module in merged.modules:
        errors = {task: e[module] for task, e in merged.errors.items() if module in e}
        row = {"module": module, **_errors(errors)}
        if isinstance(merged, CodedAdapters):
            row |= _bytes(merged.layout.modules[module], len(merged.tasks))
        rows.append(row)
    return rows


def _errors(errors: Mapping[str, float]) -> dict[str, float | None]:
    values = list(errors.values())
    return {
        "mean_error": round(mean(values), 4) if values else None,
        "largest_error": round(max(values), 4) if values else None,
    }


def _bytes(module: ModuleLayout, tasks: int) -> dict[str, object]:
    shared = module.bytes(shared=True)
    private = module.bytes(shared=False)
    return {
        "bits": module.summary(),
        "shared_bytes": shared,
        "bytes_per_task": private,
        "bytes": shared + tasks * private,
    }


def show_rows(rows: list[dict], title: str) -> None:
    """Print records as a table."""
    table = Table(*(key.replace("_", " ") for key in rows[0]), title=title)
    for row in rows:
        table.add_row(*(f"{x:,}" if isinstance(x, int) else str(x) for x in row.values()))
    width = None if sys.stdout.isatty() else WIDE  # names are not folded in a file
    Console(width=width).print(table)
