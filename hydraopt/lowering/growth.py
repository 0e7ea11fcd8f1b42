"""Adding a task to a bundle and taking one out: packs and manifest change, nothing else."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..adapters import (
    TOKEN_CLS,
    AdapterSet,
    LoraAdapter,
    check_task_type,
    is_head,
    read_adapter,
    read_weights,
)
from ..errors import AdapterError, BundleError, TaskError
from ..files import locked, replaced_file, write_bytes
from ..formats.layout import Layout
from ..formats.manifest import INPUTS, MANIFEST, Manifest
from ..formats.pack import PACKS, SUFFIX, Pack, pack, pack_name
from ..merging import relative_errors
from ..packing import CodedAdapters, encode_adapter, read_coded_layout
from .factors import task_classes


def add_task(bundle: str | Path, source: str, task: str) -> CodedAdapters:
    """Code the adapter ``source`` into the layout of ``bundle`` as a new task.

    The pack is written first and the manifest replaced last, so that an interrupted call leaves
    the bundle as it was.

    Args:
        bundle: directory with factors as inputs.
        source: PEFT directory or hub id.
        task: the new task's name.

    Returns:
        The new task alone, with its errors.

    Raises:
        AdapterError: an adapter of another base model or kind of base model, or of modules that the
            bundle lacks.
        TaskError: the task exists already.
        BundleError: a damaged bundle, or one without packs.
        OutputError: the bundle cannot be written.
    """
    bundle = Path(bundle)
    with locked(bundle):
        manifest = Manifest.read(bundle)
        _check_takes(bundle, manifest, task)
        adapter = replace(read_adapter(source), name=task)
        _check_base_weights(adapter, manifest)
        adapters = AdapterSet([adapter.placed(manifest.layers)])
        layout, shared = read_coded_layout(bundle)
        _check_fits(adapters.adapters[0], manifest, layout)
        payload = encode_adapter(layout, shared, adapters.adapters[0])
        coded = CodedAdapters(
            manifest.method, {}, layout, shared, {task: payload}, adapters.fp16_bytes
        )
        coded = replace(coded, errors=relative_errors(adapters, coded))
        name = _free_name(task, payload.numpy(), manifest)
        (bundle / PACKS).mkdir(exist_ok=True)
        with replaced_file(bundle / name) as staging:
            write_bytes(staging, pack(payload.numpy(), layout.binding(shared.numpy())))
        _replace_manifest(
            bundle,
            replace(
                manifest,
                adapter_bytes=manifest.adapter_bytes + adapters.fp16_bytes,
                packs={**manifest.packs, task: Pack.of(bundle, name)},
                classes={**manifest.classes, **task_classes(coded)},
            ),
        )
        return coded


def remove_task(bundle: str | Path, task: str) -> None:
    """Take ``task`` out of ``bundle``; packs that are no task's go.

    Raises:
        TaskError: no such task, or the last one.
        BundleError: a damaged bundle, or one without packs.
        OutputError: the bundle cannot be written.
    """
    bundle = Path(bundle)
    with locked(bundle):
        manifest = Manifest.read(bundle)
        if task not in manifest.tasks:
            raise TaskError(f"no task {task!r}; there are: {', '.join(manifest.tasks)}")
        if manifest.swap != INPUTS:
            raise BundleError(
                f"{bundle} has its adapters in the program; export it again without {task!r}"
            )
        if len(manifest.tasks) == 1:
            raise TaskError(f"{task!r} is the only task of {bundle}; delete the directory instead")
        packs = {name: place for name, place in manifest.packs.items() if name != task}
        share = manifest.adapter_bytes // len(manifest.tasks)
        _replace_manifest(
            bundle,
            replace(
                manifest,
                adapter_bytes=manifest.adapter_bytes - share,
                packs=packs,
                classes={name: n for name, n in manifest.classes.items() if name != task},
            ),
        )


def _remove_unlisted(bundle: Path, names: set[str]) -> None:
    """Remove packs that are no task's: of a task taken out, or of a call that was killed."""
    unfinished = (bundle / PACKS).glob(".*")  # nobody else writes there: the bundle is locked
    unlisted = (
        x for x in bundle.rglob(f"*{SUFFIX}") if x.relative_to(bundle).as_posix() not in names
    )
    for path in [*unfinished, *unlisted]:
        path.unlink(missing_ok=True)


def _free_name(task: str, payload: np.ndarray, manifest: Manifest) -> str:
    """A file for a task's pack that no other task's pack is in."""
    taken = {place.file for place in manifest.packs.values()}
    name = pack_name(task)
    if name not in taken:
        return name
    return pack_name(f"{task}-{hashlib.sha256(payload.data).hexdigest()[:16]}")


def _check_takes(bundle: Path, manifest: Manifest, task: str) -> None:
    if manifest.swap != INPUTS:
        raise BundleError(
            f"{bundle} has its adapters in the program and takes no further one; export it "
            "with --swap inputs"
        )
    if task.casefold() in {name.casefold() for name in manifest.tasks}:
        raise TaskError(f"{bundle} has a task {task!r} already; remove it or choose another name")


def _check_base_weights(adapter: LoraAdapter, manifest: Manifest) -> None:
    """The base is not here; the bundle knows of it what its own adapters' copies told."""
    known = read_weights(manifest.base_weights)
    for name, copy in adapter.base_weights.items():
        if copy not in known.get(name, ()):
            raise AdapterError(
                f"adapter {adapter.name!r} holds a copy of the base's {name} that differs from "
                "what the bundle knows of it; save it with save_embedding_layers=False if it was "
                "trained on this base, or export a new bundle"
            )


def _check_fits(adapter: LoraAdapter, manifest: Manifest, layout: Layout) -> None:
    if adapter.base_model != manifest.base_model:
        raise AdapterError(
            f"adapter {adapter.name!r} is for base model {adapter.base_model!r}, expected "
            f"{manifest.base_model!r} as in the bundle"
        )
    check_task_type(adapter.task_type, manifest.kind, AdapterError)
    if adapter.task_type is not None and (adapter.task_type == TOKEN_CLS) != manifest.per_token:
        gives = "classes of every token" if manifest.per_token else "one output for a text"
        raise AdapterError(
            f"adapter {adapter.name!r} has task_type {adapter.task_type}, but the bundle gives "
            f"{gives}; export a new bundle"
        )
    shapes = {name: module.shape for name, module in layout.modules.items()}
    for module, factors in (*adapter.factors.items(), *adapter.heads.items()):
        if shapes.get(module) != factors.shape:
            raise AdapterError(
                f"adapter {adapter.name!r} changes {module} of shape {factors.shape} (out, in), "
                f"but the bundle has {shapes.get(module, 'no such module')}; export a new bundle"
            )
    for module in filter(is_head, layout.modules):
        found = len(adapter.heads[module].a) if module in adapter.heads else 0
        most = len(layout.modules[module].directions)
        if not 1 <= found <= most:
            raise AdapterError(
                f"adapter {adapter.name!r} has {found} classes in {module}, but the bundle has 1 "
                f"to {most}; export a new bundle"
            )


def _replace_manifest(bundle: Path, manifest: Manifest) -> None:
    """Put a manifest in the place of the bundle's, then remove the packs that it does not list."""
    with replaced_file(bundle / MANIFEST) as staging:
        manifest.write(staging)
    _remove_unlisted(bundle, manifest.names)
