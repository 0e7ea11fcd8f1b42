"""Add a task to a bundle or remove one; only packs and the manifest change."""

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from ..adapters import (
    TOKEN_CLS,
    AdapterSet,
    LoraAdapter,
    check_task_type,
    read_adapter,
    read_weights,
)
from ..errors import AdapterError, BundleError, TaskError, UsageError, check_task
from ..factors import Places, is_head
from ..files import check_new, new_file, write_bytes
from ..formats.layout import Layout
from ..formats.manifest import PROGRAM, Manifest
from ..formats.models import Encoder
from ..formats.pack import pack
from ..formats.records import FileRecord
from ..formats.swaps import Inputs
from ..formats.update import Update, UpdateFile
from ..packing import CodedAdapters, encode_adapter, read_coded_layout
from ..stored import relative_errors
from .changes import check_name, free_name, growing, locked, with_task, write, written_files
from .kept import check_kept
from .signatures import read_private_key

MOST = (1 << 31) - 1  # greatest version

# a new task's codes, its adapter, and places of the adapter's modules -> better codes
Tune = Callable[[CodedAdapters, LoraAdapter, Places], CodedAdapters]


def add_task(
    bundle: str | Path,
    source: str,
    task: str,
    *,
    version: int = 1,
    delta: str | Path | None = None,
    sign: str | Path | None = None,
    tune: Tune | None = None,
) -> CodedAdapters:
    """Code the adapter ``source`` in the layout of ``bundle`` as a new task.

    The pack is written first and the manifest last, so that an interrupted call leaves the bundle
    unchanged. Files that hydraopt did not write are kept. If another bundle replaces this one
    meanwhile, the task is added to that one or to none.

    Args:
        bundle: directory of a bundle whose factors are inputs.
        source: PEFT directory or hub id.
        task: the new task's name.
        version: its version, at least 1; a greater one than the bundle's replaces the task.
        delta: a file to write, with which :func:`install_update` adds the task to other copies of
            the bundle.
        sign: Ed25519 private key in PEM that signs ``delta``.
        tune: returns better codes of the task, in the same layout, with their errors.

    Returns:
        The codes of the new task alone, with its errors.

    Raises:
        AdapterError: the adapter is for another base model or kind of base model, changes modules
            that the bundle lacks, or cannot be represented by the bundle's rows.
        TaskError: the task exists already, in this version or a newer one.
        BundleError: the bundle is damaged or has no packs.
        OutputError: the bundle or ``delta`` cannot be written, or ``delta`` exists.
        UsageError: the key cannot be read, or there is nothing to sign.
    """
    if sign is not None and delta is None:
        raise UsageError("a key signs an update; say where to write it", options=["delta"])
    if not 1 <= version <= MOST:
        raise UsageError(f"version is {version}, expected 1 to {MOST:,}", options=["version"])
    key = None if sign is None else read_private_key(Path(sign))
    if delta is not None:
        check_new(Path(delta))
    with locked(Path(bundle)) as directory:
        bundle = directory.path
        manifest = Manifest.read(bundle)
        swap = growing(bundle, manifest)
        _check_is_new(bundle, manifest, task, version)
        coded, content = _coded(bundle, manifest, swap, source, task, tune)
        update = Update(
            program=manifest.files[PROGRAM].sha256,
            binding=swap.binding,
            task=task,
            version=version,
            adapter_bytes=coded.adapter_bytes,
            classes=coded.classes.get(task),
            pack=FileRecord(len(content), hashlib.sha256(content).hexdigest()),
        )
        listing = written_files(directory, manifest)
        name = free_name(task, content, manifest, directory, listing)
        with nullcontext() if delta is None else new_file(Path(delta)) as path:
            if path:
                signature = key.sign(update.document) if key else None
                write_bytes(path, UpdateFile(path, update.document, content, signature).content)
            write(directory, listing, with_task(manifest, update, name), {name: content})
        return coded


def _coded(
    bundle: Path, manifest: Manifest, swap: Inputs, source: str, task: str, tune: Tune | None
) -> tuple[CodedAdapters, bytes]:
    """Return the codes of an adapter that fits the bundle, and their pack."""
    adapter = replace(read_adapter(source), name=task)
    _check_base_weights(adapter, manifest)
    adapters = AdapterSet([adapter.placed(manifest.layers)])
    layout, shared = read_coded_layout(bundle, swap.binding)
    _check_fits(adapters.adapters[0], manifest, layout)
    payload = encode_adapter(layout, shared, adapters.adapters[0])
    size = adapters.fp16_bytes
    coded = CodedAdapters(manifest.method, {}, layout, shared, {task: payload}, adapter_bytes=size)
    check_kept(adapters.adapters[0], coded)
    if tune:
        coded = tune(coded, adapter, manifest.layers)
    else:
        coded = replace(coded, errors=relative_errors(adapters, coded))
    return coded, pack(coded.payloads[task].numpy(), layout.binding(shared.numpy()))


def remove_task(bundle: str | Path, task: str) -> None:
    """Remove ``task`` from ``bundle``, with packs that no other task uses.

    Raises:
        TaskError: there is no such task, or no other one.
        BundleError: the bundle is damaged or has no packs.
        OutputError: the bundle cannot be written.
    """
    with locked(Path(bundle)) as directory:
        bundle = directory.path
        manifest = Manifest.read(bundle)
        check_task(task, manifest.tasks)
        if not isinstance(manifest.swap, Inputs):
            raise BundleError(
                f"{bundle} has its adapters in the program; export it again without {task!r}"
            )
        if len(manifest.tasks) == 1:
            raise TaskError(f"{task!r} is the only task of {bundle}; delete the directory instead")
        packs = {name: place for name, place in manifest.packs.items() if name != task}
        share = manifest.adapter_bytes // len(manifest.tasks)
        classes = {name: n for name, n in manifest.classes.items() if name != task}
        shrunk = replace(
            manifest,
            adapter_bytes=manifest.adapter_bytes - share,
            swap=replace(manifest.swap, packs=packs),
            classes=classes,
            versions={name: n for name, n in manifest.versions.items() if name != task},
        )
        write(directory, written_files(directory, manifest), shrunk)


def _check_is_new(bundle: Path, manifest: Manifest, task: str, version: int) -> None:
    check_name(bundle, manifest, task)
    installed = manifest.versions.get(task, 1)
    if task in manifest.tasks and version <= installed:
        raise TaskError(
            f"{bundle} has a task {task!r} already, of version {installed}; remove it, or choose "
            "another name or a greater version",
            options=["version"],
        )


def _check_base_weights(adapter: LoraAdapter, manifest: Manifest) -> None:
    """Compare copies of base weights in an adapter with those in the bundle's adapters."""
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
    check_task_type(adapter.task_type, manifest.model.kind, AdapterError)
    per_token = isinstance(manifest.model, Encoder) and manifest.model.per_token
    if adapter.task_type is not None and (adapter.task_type == TOKEN_CLS) != per_token:
        gives = "classes of every token" if per_token else "one output for a text"
        raise AdapterError(
            f"adapter {adapter.name!r} has task_type {adapter.task_type}, but the bundle gives "
            f"{gives}; export a new bundle"
        )
    shapes = layout.shapes
    heads = ((name, head.size) for name, head in adapter.heads.items())
    for module, size in (*adapter.sizes.items(), *heads):
        if shapes.get(module) != size.shape:
            raise AdapterError(
                f"adapter {adapter.name!r} changes {module} of shape {size.shape} (out, in), "
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
