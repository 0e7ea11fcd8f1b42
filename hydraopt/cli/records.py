"""Records that describe directories, for tables and JSON."""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from ..errors import HydraOptError

if TYPE_CHECKING:
    from ..formats.layout import ModuleLayout
    from ..packing import CodedAdapters
    from ..stored import MergedAdapters


def describe(path: Path) -> dict:
    """Describe an adapter, compressed or merged adapters, or a bundle.

    Raises:
        HydraOptError: ``path`` is none of these, or damaged.
    """
    if (path / "manifest.json").exists():
        return of_bundle(path)
    if is_stored(path):
        from ..packing import open_stored

        return of_stored(open_stored(path))
    if (path / "adapter_config.json").exists():
        return of_adapter(path)
    if (path / "hydralora.json").exists():
        return of_hydralora(path)
    if (path / "sparse.json").exists():
        return of_sparse(path)
    raise HydraOptError(
        f"{path} is not an adapter, compressed or merged adapters, or a bundle: expected "
        "adapter_config.json, adapters.json or manifest.json in it"
    )


def is_stored(path: Path) -> bool:
    """Return whether a directory holds compressed or merged adapters, and is not a bundle."""
    return (path / "adapters.json").exists() and not (path / "manifest.json").exists()


def of_adapter(path: Path) -> dict:
    """Describe a PEFT adapter directory."""
    from ..adapters import AdapterSet, read_adapter

    adapter = read_adapter(path)
    # the directory's name may be invalid as a task's
    adapters = AdapterSet([replace(adapter, name="adapter")])
    return {
        "type": "adapter",
        "base_model": adapter.base_model,
        "tasks": [adapter.name],
        "modules": len(adapter.factors),
        "ranks": sorted({size.rank for size in adapter.sizes.values()}),
        "fp16_bytes": adapters.fp16_bytes,
    }


def of_hydralora(path: Path) -> dict:
    """Describe a HydraLoRA directory."""
    from ..hydralora import WEIGHTS, HydraLora

    adapter = HydraLora.load(path)
    return {
        "type": "hydralora",
        "base_model": adapter.base_model,
        "modules": len(adapter.modules),
        "experts": adapter.config.experts,
        "rank": adapter.config.rank,
        "alpha": adapter.config.alpha,
        "values": adapter.values,
        "stored_bytes": (path / WEIGHTS).stat().st_size,
    }


def of_sparse(path: Path) -> dict:
    """Describe a sparse adapter's directory."""
    from ..sparse import WEIGHTS, SparseAdapter

    adapter = SparseAdapter.load(path)
    weights = sum(math.prod(delta.shape) for delta in adapter.modules.values())
    return {
        "type": "sparse",
        "base_model": adapter.base_model,
        "tasks": list(adapter.tasks),
        "settings": dict(adapter.settings),
        "modules": len(adapter.modules),
        "values": adapter.values,
        "share_of_weights": adapter.values / weights,
        "stored_bytes": (path / WEIGHTS).stat().st_size,
    }


def of_stored(merged: "MergedAdapters | CodedAdapters") -> dict:
    """Describe compressed or merged adapters."""
    from ..packing import CodedAdapters

    about: dict[str, object]
    if isinstance(merged, CodedAdapters):
        written_by = "compressed"
        about = {"directions": sorted({len(m.directions) for m in merged.layout.modules.values()})}
        mixable = merged.layout.shares_rows
        if merged.rounding is not None:
            about["calibrated_for"] = merged.rounding.quantize
    else:
        written_by, sides = "merged", list(merged.modules.values())
        about = {
            "ranks": sorted({a.stack.shape[1] for a, _ in sides}),
            "a_per_module": sorted({len(a.stack) for a, _ in sides}),
            "b_per_module": sorted({len(b.stack) for _, b in sides}),
        }
        mixable = all(a.is_shared for a, _ in sides)
    return {
        "type": written_by,
        "method": merged.method,
        "settings": dict(merged.settings),
        "base_model": merged.base_model,
        "tasks": list(merged.tasks),
        "modules": len(merged.modules),
        **about,
        "mixable": mixable,
        "stored_bytes": merged.stored_bytes,
        "fp16_bytes": merged.adapter_bytes,
        "share_of_fp16": merged.share,
    }


def of_bundle(path: Path) -> dict:
    """Describe a bundle; ``share_of_fp16`` counts what the adapters need on a phone.

    ``mixable`` is None if the file is missing that says so.
    """
    from ..formats.layout import LAYOUT, Layout
    from ..formats.manifest import PROGRAM, Manifest
    from ..formats.pack import SHARED
    from ..formats.swaps import Inputs

    manifest = Manifest.read(path)
    swap, model = manifest.swap, asdict(manifest.model)
    mixable: bool | None = isinstance(swap, Inputs)
    if mixable:
        layout = path / LAYOUT
        mixable = Layout.read(layout).shares_rows if layout.exists() else None
    model.pop("chat", None)  # long texts
    sizes = {name: record.bytes for name, record in manifest.files.items()}
    packs = manifest.pack_sizes
    common = sizes.get(SHARED, 0)  # none if shared rows are layers: the program has their bytes
    return {
        "type": "bundle",
        "method": manifest.method,
        "base_model": manifest.base_model,
        "kind": manifest.model.kind,
        "quantize": manifest.quantize,
        **model,
        "swap": swap.mode,
        "deviation": manifest.deviation,
        "tasks": list(manifest.tasks),
        "factor_inputs": len(swap.factors) if isinstance(swap, Inputs) else 0,
        "mixable": mixable,
        "program_bytes": sizes[PROGRAM],
        "constant_factor_bytes": swap.constant_bytes,
        "shared_bytes": common,
        "pack_bytes": sum(packs),
        "bytes_per_task": max(packs, default=0),
        "total_bytes": manifest.total_bytes,
        "fp16_bytes": manifest.adapter_bytes,
        "share_of_fp16": (sum(packs) + common + swap.constant_bytes) / manifest.adapter_bytes,
    }


def of_tasks(merged: "MergedAdapters | CodedAdapters") -> list[dict]:
    """Describe each task: mean and largest relative error over its modules, bytes of its pack."""
    from ..packing import CodedAdapters

    rows = []
    for task in merged.tasks:
        errors = merged.errors.get(task, {})
        worst = max(errors, key=errors.__getitem__, default=None)
        row = {"task": task, **_errors(errors), "worst_module": worst}
        if isinstance(merged, CodedAdapters):
            row["pack_bytes"] = len(merged.payloads[task])
        rows.append(row)
    return rows


def of_modules(merged: "MergedAdapters | CodedAdapters") -> list[dict]:
    """Describe each module: relative error over its tasks, bits, shared and private bytes."""
    from ..packing import CodedAdapters

    rows = []
    for module in merged.modules:
        errors = {task: e[module] for task, e in merged.errors.items() if module in e}
        row: dict[str, Any] = {"module": module, **_errors(errors)}
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


def _bytes(module: "ModuleLayout", tasks: int) -> dict[str, object]:
    shared = module.bytes(shared=True)
    private = module.bytes(shared=False)
    return {
        "bits": module.summary(),
        "shared_bytes": shared,
        "bytes_per_task": private,
        "bytes": shared + tasks * private,
    }
