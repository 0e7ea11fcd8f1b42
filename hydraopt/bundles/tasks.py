"""Add a task to a bundle or remove one; only packs and the manifest change."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from ..errors import AdapterError, BundleError, TaskError, check_task
from ..factors import is_head
from ..files import Listing, LockedDirectory, locked_directory, sha256
from ..formats.layout import Layout
from ..formats.manifest import BUNDLE, MANIFEST, Manifest
from ..formats.models import Encoder
from ..formats.pack import SINGLE, Pack, is_pack_name, pack, pack_name
from ..formats.swaps import Inputs
from ..packing import CodedAdapters, encode_adapter, read_coded_layout
from ..stored import relative_errors
from .kept import check_kept


def add_task(bundle: str | Path, source: str, task: str) -> CodedAdapters:
    """Code the adapter ``source`` in the layout of ``bundle`` as a new task.

    The pack is written first and the manifest last, so that an interrupted call leaves the bundle
    unchanged. Files that hydraopt did not write are kept. If another bundle replaces this one
    meanwhile, the task is added to that one or to none.

    Args:
        bundle: directory of a bundle whose factors are inputs.
        source: PEFT directory or hub id.
        task: the new task's name.

    Returns:
        The codes of the new task alone, with its errors.

    Raises:
        AdapterError: the adapter is for another base model or kind of base model, changes modules
            that the bundle lacks, or cannot be represented by the bundle's rows.
        TaskError: the task exists already.
        BundleError: the bundle is damaged or has no packs.
        OutputError: the bundle cannot be written.
    """
    with _locked(Path(bundle)) as directory:
        bundle = directory.path
        manifest = Manifest.read(bundle)
        swap = _growing(bundle, manifest, task)
        adapter = replace(read_adapter(source), name=task)
        _check_base_weights(adapter, manifest)
        adapters = AdapterSet([adapter.placed(manifest.layers)])
        layout, shared = read_coded_layout(bundle, swap.binding)
        _check_fits(adapters.adapters[0], manifest, layout)
        payload = encode_adapter(layout, shared, adapters.adapters[0])
        size = adapters.fp16_bytes
        coded = CodedAdapters(
            manifest.method, {}, layout, shared, {task: payload}, adapter_bytes=size
        )
        check_kept(adapters.adapters[0], coded)
        coded = replace(coded, errors=relative_errors(adapters, coded))
        content = pack(payload.numpy(), layout.binding(shared.numpy()))
        name = _free_name(task, content, manifest, directory)
        grown = replace(
            manifest,
            adapter_bytes=manifest.adapter_bytes + adapters.fp16_bytes,
            swap=replace(swap, packs={**swap.packs, task: Pack.holding(content, name)}),
            classes={**manifest.classes, **coded.classes},
        )
        _write(directory, grown, {name: content})
        return coded


def remove_task(bundle: str | Path, task: str) -> None:
    """Remove ``task`` from ``bundle``, with packs that no other task uses.

    Raises:
        TaskError: there is no such task, or no other one.
        BundleError: the bundle is damaged or has no packs.
        OutputError: the bundle cannot be written.
    """
    with _locked(Path(bundle)) as directory:
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
        )
        _write(directory, shrunk, {})


@contextmanager
def _locked(bundle: Path) -> Iterator[LockedDirectory]:
    with locked_directory(bundle) as directory:
        if not directory.locked:
            raise BundleError(
                f"{bundle} cannot be locked: its file system has no locks; copy the bundle to "
                "another one"
            )
        yield directory


def _listing(directory: LockedDirectory) -> Listing:
    """Return the files that hydraopt wrote, by the bundle's list and its manifest."""
    manifest = Manifest.read(directory.path)
    listed = directory.listing() or Listing(BUNDLE, {})
    records = {**manifest.files, **manifest.growth}
    sealed = {name: record.sha256 for name, record in records.items()}
    sealed |= {pack.file: pack.sha256 for pack in manifest.packs.values() if pack.file != SINGLE}
    sealed[MANIFEST] = sha256(directory.path / MANIFEST)
    return listed.with_more(sealed)


def _write(directory: LockedDirectory, manifest: Manifest, packs: Mapping[str, bytes]) -> None:
    """Write packs, then the manifest, then delete packs that no task uses.

    Unused packs belong to a removed task or to a call that was killed.
    """
    listing = _listing(directory)
    gone = [x for x in listing.files if is_pack_name(x) and x not in manifest.names]
    directory.change(listing, {**packs, MANIFEST: manifest.document}, gone)


def _free_name(task: str, content: bytes, manifest: Manifest, directory: LockedDirectory) -> str:
    """Return a name for a task's pack that neither a task nor a foreign file uses."""
    taken = {place.file for place in manifest.packs.values()}
    name = pack_name(task)
    if name not in taken and directory.may_write(name, _listing(directory)):
        return name
    return pack_name(f"{task}-{hashlib.sha256(content).hexdigest()[:16]}")


def _growing(bundle: Path, manifest: Manifest, task: str) -> Inputs:
    """Return the swap to which a new task can be added."""
    if not isinstance(manifest.swap, Inputs):
        raise BundleError(
            f"{bundle} has its adapters in the program and takes no further one; export it "
            "with its adapters as inputs",
            options=["swap=inputs"],
        )
    if task.casefold() in {name.casefold() for name in manifest.tasks}:
        raise TaskError(f"{bundle} has a task {task!r} already; remove it or choose another name")
    return manifest.swap


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
