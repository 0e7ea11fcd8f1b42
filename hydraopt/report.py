"""What the command line prints: a table for people or JSON for machines."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .errors import HydraOptError

if TYPE_CHECKING:
    from .evaluation.experts import ExpertPoint
    from .evaluation.frontier import Point
    from .lowering.bundle import Exported
    from .merging import Merged, Method

LIST_LIMIT = 8


def show(values: Mapping[str, object], as_json: bool) -> None:
    """Print one record."""
    if as_json:
        print(json.dumps(values, ensure_ascii=False))
        return
    table = Table(show_header=False, box=None)
    for key, value in values.items():
        table.add_row(key.replace("_", " "), escape(_text(key, value)))
    Console().print(table)


def _text(key: str, value: object) -> str:
    if "share_of" in key:
        return f"{value:.1%}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(k, v)}" for k, v in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        shown = ", ".join(_text("", item) for item in value[:LIST_LIMIT])
        return shown if len(value) <= LIST_LIMIT else f"{shown}, … ({len(value)} in all)"
    return f"{value:,}" if isinstance(value, int) else str(value)


def show_info(path: Path, as_json: bool) -> None:
    """Print :func:`describe`'s record; for merged adapters also one per task and per module."""
    if not _is_merged(path):
        show(describe(path), as_json)
        return
    from .packing import open_merged
    from .quality_report import of_modules, of_tasks, show_rows

    merged = open_merged(path)
    record, tasks, modules = of_merged(merged), of_tasks(merged), of_modules(merged)
    if as_json:
        show(record | {"per_task": tasks, "per_module": modules}, as_json)
        return
    show_rows(tasks, "Tasks")
    show_rows(modules, "Modules")
    show(record, as_json)


def describe(path: Path) -> dict:
    """Record of an adapter directory, a merged directory or a bundle.

    Raises:
        HydraOptError: ``path`` is none of them, or is damaged.
    """
    if (path / "manifest.json").exists():
        return of_bundle(path)
    if _is_merged(path):
        from .packing import open_merged

        return of_merged(open_merged(path))
    if (path / "adapter_config.json").exists():
        return of_adapter(path)
    if (path / "hydralora.json").exists():
        return of_hydralora(path)
    if (path / "sparse.json").exists():
        return of_sparse(path)
    raise HydraOptError(
        f"{path} is no adapter, merged directory or bundle: expected adapter_config.json, "
        "merged.json or manifest.json in it"
    )


def _is_merged(path: Path) -> bool:
    return (path / "merged.json").exists() and not (path / "manifest.json").exists()


def of_adapter(path: Path) -> dict:
    """Record of a PEFT adapter directory."""
    from .adapters import AdapterSet, read_adapter

    adapter = read_adapter(path)
    adapters = AdapterSet([adapter])
    return {
        "kind": "adapter",
        "base_model": adapter.base_model,
        "tasks": [adapter.name],
        "modules": len(adapter.factors),
        "ranks": sorted({factors.a.shape[0] for factors in adapter.factors.values()}),
        "fp16_bytes": adapters.fp16_bytes,
    }


def of_hydralora(path: Path) -> dict:
    """Record of a HydraLoRA directory."""
    from .training.hydralora_directory import WEIGHTS, HydraLora

    adapter = HydraLora.load(path)
    return {
        "kind": "hydralora",
        "base_model": adapter.base_model,
        "modules": len(adapter.modules),
        "heads": adapter.config.heads,
        "rank": adapter.config.rank,
        "alpha": adapter.config.alpha,
        "values": adapter.values,
        "stored_bytes": (path / WEIGHTS).stat().st_size,
    }


def of_sparse(path: Path) -> dict:
    """Record of a sparse adapter's directory."""
    from .training.sparse_directory import WEIGHTS, SparseAdapter

    adapter = SparseAdapter.load(path)
    weights = sum(math.prod(delta.shape) for delta in adapter.modules.values())
    return {
        "kind": "sparse",
        "base_model": adapter.base_model,
        "tasks": list(adapter.tasks),
        "settings": dict(adapter.settings),
        "modules": len(adapter.modules),
        "values": adapter.values,
        "share_of_weights": adapter.values / weights,
        "stored_bytes": (path / WEIGHTS).stat().st_size,
    }


def of_merged(merged: "Merged") -> dict:
    """Record of merged adapters."""
    from .packing import CodedAdapters

    if isinstance(merged, CodedAdapters):
        kind = {"directions": sorted({len(m.directions) for m in merged.layout.modules.values()})}
    else:
        sides = list(merged.modules.values())
        kind = {
            "ranks": sorted({a.stack.shape[1] for a, _ in sides}),
            "a_per_module": sorted({len(a.stack) for a, _ in sides}),
            "b_per_module": sorted({len(b.stack) for _, b in sides}),
        }
    return {
        "kind": "merged",
        "method": merged.method,
        "settings": dict(merged.settings),
        "base_model": merged.base_model,
        "tasks": list(merged.tasks),
        "modules": len(merged.modules),
        **kind,
        "stored_bytes": merged.stored_bytes,
        "fp16_bytes": merged.adapter_bytes,
        "share_of_fp16": merged.share,
    }


def show_methods(methods: Mapping[str, "Method"], as_json: bool) -> None:
    """Print the merging methods as a table, or as JSON: name -> record."""
    records = {name: method.describe() for name, method in methods.items()}
    if as_json:
        print(json.dumps(records, ensure_ascii=False))
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
        table.add_row(*map(escape, row))
    Console().print(table)
    print("storage: fp16 values of the method's own representation per module of shape m x n;")
    print("T tasks, R rank, K clusters, d hidden size.")
    print("hydraopt stores dense results as factors of rank R.")


def of_bundle(path: Path) -> dict:
    """Record of a bundle; the adapters' share counts all files and constants that are theirs."""
    from .lowering.manifest import PROGRAM, Manifest
    from .packing import LAYOUT, SHARED

    manifest = Manifest.read(path)
    sizes = {name: record.bytes for name, record in manifest.files.items()}
    packs = [sizes[name] for name in {*manifest.tasks.values()} if name in sizes]
    # shared rows that are layers of the program are counted there
    common = sizes.get(LAYOUT, 0) + (0 if manifest.static_rows else sizes.get(SHARED, 0))
    return {
        "kind": "bundle",
        "method": manifest.method,
        "base_model": manifest.base_model,
        "base_kind": manifest.kind,
        "quantize": manifest.quantize,
        "embedding": manifest.embedding,
        "attention": manifest.attention,
        "swap": manifest.swap,
        "max_length": manifest.max_length,
        "prefill_length": manifest.prefill_length,
        "tasks": list(manifest.tasks),
        "factor_inputs": len(manifest.factors),
        "program_bytes": sizes[PROGRAM],
        "constant_factor_bytes": manifest.constant_bytes,
        "shared_bytes": common,
        "pack_bytes": sum(packs),
        "bytes_per_task": max(packs, default=0),
        "total_bytes": sum(sizes.values()),
        "fp16_bytes": manifest.adapter_bytes,
        "share_of_fp16": (sum(packs) + common + manifest.constant_bytes) / manifest.adapter_bytes,
    }


def show_export(exported: "Exported", record: dict, as_json: bool) -> None:
    """Print a bundle's record and the delegation table of its first method."""
    table = next(iter(exported.delegation.values()))
    if as_json:
        rows = {row.operator: [row.delegated, row.not_delegated] for row in table}
        show(record | {"delegation": rows}, as_json)
        return
    grid = Table("operator", "XNNPACK", "portable", title="Delegation")
    for row in table:
        grid.add_row(row.operator, str(row.delegated), str(row.not_delegated))
    Console().print(grid)
    show(record, as_json)


def show_points(points: "Sequence[Point]", as_json: bool) -> None:
    """Print a frontier."""
    if as_json:
        rows = [
            {"method": p.series, "setting": p.label, "share_of_fp16": p.share} | p.summary()
            for p in points
        ]
        print(json.dumps(rows, ensure_ascii=False))
        return
    grid = Table("method", "setting", "share of fp16", "mean %", "worst %", "worst task")
    for p in points:
        numbers = f"{p.share:.1%}", f"{100 * p.mean:.2f}", f"{100 * p.worst:.1f}"
        grid.add_row(p.series, p.label, *numbers, p.worst_task)
    Console().print(grid)


def show_experts(points: "Sequence[ExpertPoint]", as_json: bool) -> None:
    """Print merges by their number of experts."""
    if as_json:
        print(json.dumps([point.record() for point in points], ensure_ascii=False))
        return
    columns = ("own tasks %", "tokens %", "unseen tasks %", "tokens %")
    grid = Table("experts", "method", *columns)
    for point in points:
        own, unseen = point.held_in, point.held_out
        scores = [
            own.exact,
            own.tokens,
            *((unseen.exact, unseen.tokens) if unseen else (None,) * 2),
        ]
        cells = ("" if score is None else f"{100 * score:.1f}" for score in scores)
        grid.add_row(str(point.experts), point.method, *cells)
    Console().print(grid)
