"""Change the tasks of a bundle: packs first, the manifest last."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..errors import BundleError, TaskError
from ..files import Listing, LockedDirectory, locked_directory, sha256
from ..formats.manifest import BUNDLE, MANIFEST, Manifest
from ..formats.pack import SINGLE, Pack, is_pack_name, pack_name
from ..formats.swaps import Inputs
from ..formats.update import Update

NONE: Mapping[str, bytes] = {}


@contextmanager
def locked(bundle: Path) -> Iterator[LockedDirectory]:
    """Lock a bundle's directory; others that want to change it wait.

    Raises:
        BundleError: its file system has no locks.
        OutputError: it cannot be opened.
    """
    with locked_directory(bundle) as directory:
        if not directory.locked:
            raise BundleError(
                f"{bundle} cannot be locked: its file system has no locks; copy the bundle to "
                "another one"
            )
        yield directory


def growing(bundle: Path, manifest: Manifest) -> Inputs:
    """Return the swap to which a task can be added.

    Raises:
        BundleError: the bundle's adapters are in the program.
    """
    if not isinstance(manifest.swap, Inputs):
        raise BundleError(
            f"{bundle} has its adapters in the program and takes no further one; export it "
            "with its adapters as inputs",
            options=["swap=inputs"],
        )
    return manifest.swap


def check_name(bundle: Path, manifest: Manifest, task: str) -> None:
    """Raise ``TaskError`` if another task's name differs from ``task`` in case only."""
    if task not in manifest.tasks and task.casefold() in map(str.casefold, manifest.tasks):
        raise TaskError(f"{bundle} has a task {task!r} already; remove it or choose another name")


def with_task(manifest: Manifest, update: Update, file: str) -> Manifest:
    """Return a manifest with the task of an update, whose pack is ``file``, new or replaced."""
    task, swap = update.task, manifest.swap
    assert isinstance(swap, Inputs)
    share = manifest.adapter_bytes // len(manifest.tasks) if task in manifest.tasks else 0
    pack = Pack(file, 0, update.pack.bytes, update.pack.sha256)
    classes = {} if update.classes is None else {task: update.classes}
    versions = {**manifest.versions, task: update.version}
    return replace(
        manifest,
        adapter_bytes=manifest.adapter_bytes - share + update.adapter_bytes,
        swap=replace(swap, packs={**swap.packs, task: pack}),
        classes={**manifest.classes, **classes},
        versions={name: version for name, version in versions.items() if version != 1},
    )


def write(
    directory: LockedDirectory,
    listing: Listing,
    manifest: Manifest,
    packs: Mapping[str, bytes] = NONE,
) -> None:
    """Write packs, then the manifest, then delete packs that no task uses.

    Unused packs belong to a removed or replaced task, or to a call that was killed.

    Args:
        directory: the bundle's directory.
        listing: from :func:`written_files`, before the change.
        manifest: the new manifest.
        packs: path inside the bundle -> content.
    """
    used = manifest.names
    gone = [name for name in listing.files if is_pack_name(name) and name not in used]
    directory.change(listing, {**packs, MANIFEST: manifest.document}, gone)


def free_name(
    task: str, content: bytes, manifest: Manifest, directory: LockedDirectory, listing: Listing
) -> str:
    """Return a name for a task's pack that neither a task nor a foreign file uses."""
    taken = {place.file for place in manifest.packs.values()}
    name = pack_name(task)
    if name not in taken and directory.may_write(name, listing):
        return name
    return pack_name(f"{task}-{hashlib.sha256(content).hexdigest()[:16]}")


def written_files(directory: LockedDirectory, manifest: Manifest) -> Listing:
    """Return the files that hydraopt wrote, by the bundle's list and its current manifest."""
    listed = directory.listing() or Listing(BUNDLE, {})
    records = {**manifest.files, **manifest.growth}
    sealed = {name: record.sha256 for name, record in records.items()}
    sealed |= {pack.file: pack.sha256 for pack in manifest.packs.values() if pack.file != SINGLE}
    sealed[MANIFEST] = sha256(directory.path / MANIFEST)
    return listed.with_more(sealed)
