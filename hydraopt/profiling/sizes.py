"""Sizes of a bundle and of the alternatives, counted from files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..adapters import ADAPTER_CONFIG
from ..errors import ProfilingError
from ..formats.manifest import MANIFEST, PROGRAM, Manifest
from ..formats.pack import SHARED
from ..lowering.alternatives import Alternative
from ..private.executorch import HEAD, data_start


@dataclass(frozen=True)
class Growth:
    """Bytes of a variant with N tasks: ``fixed + N * per_task``."""

    fixed: int
    per_task: float

    def total(self, tasks: int) -> float:
        """Return the bytes for a number of tasks."""
        return self.fixed + tasks * self.per_task


def program_parts(path: Path) -> tuple[int, int]:
    """Bytes of a .pte file's instructions, and of its data: weights, tables, XNNPACK's graphs.

    Raises:
        ProfilingError: no ExecuTorch program.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = data_start(file.read(HEAD))
    if start is None:
        raise ProfilingError(
            f"{path} is not an ExecuTorch program with a data segment; export again"
        )
    data = start or size
    return data, size - data


def bundle_parts(bundle: Path, manifest: Manifest) -> dict[str, int]:
    """Bytes of every part of a bundle that a phone needs."""
    sizes = {name: record.bytes for name, record in manifest.files.items()}
    instructions, data = program_parts(bundle / PROGRAM)
    packs = manifest.pack_sizes
    shared = sizes.get(SHARED, 0)
    total = sum((bundle / name).stat().st_size for name in (MANIFEST, *manifest.phone_names))
    return {
        "program_instructions": instructions,
        "program_constants": data,
        "shared_factors": shared,
        "packs": sum(packs),
        "largest_pack": max(packs, default=0),
        "other_files": total - instructions - data - shared - sum(packs),
        "total": total,
    }


def growths(
    parts: Mapping[str, int],
    tasks: int,
    adapter_bytes: int,
    lowered: Mapping[str, Alternative],
) -> dict[str, Growth]:
    """Return each variant's growth with the number of tasks.

    Args:
        parts: as :func:`bundle_parts` returns them.
        tasks: number of tasks in the bundle.
        adapter_bytes: bytes of their separate adapters in fp16.
        lowered: the alternatives' programs for one task; without them only adapters are
            compared.
    """
    per_task = parts["packs"] / tasks
    if not lowered:
        return {
            "bundle": Growth(parts["shared_factors"], per_task),
            "adapters": Growth(0, adapter_bytes / tasks),
        }
    size = {
        name: [path.stat().st_size for path in program.files] for name, program in lowered.items()
    }
    return {
        "bundle": Growth(parts["total"] - parts["packs"], per_task),
        # an adapter in the weights does not change a program's size
        "adapters": Growth(size["baked"][0], adapter_bytes / tasks),
        "ptd": Growth(*size["ptd"]),
        "constants": Growth(0, size["constants"][0]),
        "baked": Growth(0, size["baked"][0]),
    }


def crossover(bundle: Growth, other: Growth) -> int | None:
    """Return the number of tasks from which on the bundle is smaller; None if it never is."""
    if bundle.per_task >= other.per_task:
        return None
    gap = (bundle.fixed - other.fixed) / (other.per_task - bundle.per_task)
    return max(1, int(gap) + 1)


def separate_bytes(manifest: Manifest, directory: Path | None) -> tuple[int, str]:
    """Return the bytes of the tasks' separate adapters, and what was counted.

    Args:
        manifest: manifest of the bundle, which has the adapters' fp16 bytes.
        directory: directory of PEFT directories, whose files are counted instead.

    Raises:
        ProfilingError: a task has no PEFT directory in ``directory``.
    """
    if directory is None:
        return manifest.adapter_bytes, "fp16 factors of the adapters"
    present = {path.parent.name for path in directory.glob(f"*/{ADAPTER_CONFIG}")}
    if missing := set(manifest.tasks) - present:
        raise ProfilingError(
            f"{directory} has no PEFT directory {min(missing)}, expected one for each of the "
            f"bundle's {len(manifest.tasks)} tasks; pass the directory that holds all of them"
        )
    files = [
        path
        for task in manifest.tasks
        for path in (directory / task).iterdir()
        if path.name.startswith("adapter_")
    ]
    return sum(path.stat().st_size for path in files), f"files of {directory.name}"


def sizes(
    bundle: Path,
    manifest: Manifest,
    lowered: Mapping[str, Alternative],
    separate: int,
    source: str,
) -> dict:
    """Return sizes in bytes for the results; ``separate, source`` as of :func:`separate_bytes`."""
    parts, tasks = bundle_parts(bundle, manifest), len(manifest.tasks)
    variants = growths(parts, tasks, separate, lowered)
    return {
        "tasks": tasks,
        "bundle": parts,
        "separate_adapters": separate,
        "separate_adapters_counted": source,
        "programs_included": bool(lowered),
        "variants": {
            name: asdict(growth)
            | {
                "at_tasks": round(growth.total(tasks)),
                "bundle_smaller_from": None
                if name == "bundle"
                else crossover(variants["bundle"], growth),
            }
            for name, growth in variants.items()
        },
    }
