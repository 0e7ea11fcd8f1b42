"""Install a task that was added to the same bundle elsewhere."""

from pathlib import Path

import numpy as np

from ..errors import BundleError, TaskError
from ..formats.manifest import PROGRAM, Manifest
from ..formats.pack import bound_payload
from ..formats.swaps import Inputs
from ..formats.update import PACK, Update, UpdateFile
from .changes import check_name, free_name, growing, locked, with_task, write, written_files
from .signatures import check_signature


def install_update(
    bundle: str | Path, update: str | Path, public_key: str | Path | None = None
) -> Update:
    """Install an update, a new task or a newer version of one, in a bundle.

    The pack is written first and the manifest last, so that an interrupted call leaves the bundle
    unchanged. Open sessions keep their tasks; a session that is opened later has the new one.

    Args:
        bundle: directory of a copy of the bundle that the update was made for.
        update: zip file that ``hydraopt add`` wrote.
        public_key: Ed25519 key in PEM; an update that its owner did not sign is refused.

    Returns:
        What was installed, of which ``task`` and ``version`` are the task's.

    Raises:
        TaskError: the bundle has this version of the task already, or a newer one.
        BundleError: the update is damaged, not signed by the key, for another bundle or of another
            layout, or the bundle is damaged or takes no further task.
        OutputError: the bundle cannot be written.
        UsageError: the key cannot be read.
    """
    with locked(Path(bundle)) as directory:
        manifest = Manifest.read(directory.path)
        swap = growing(directory.path, manifest)
        file = UpdateFile.read(Path(update), manifest.pack_sizes[0])
        if public_key is not None:
            check_signature(file, Path(public_key))
        found = file.update()
        _check_belongs(file, found, directory.path, manifest, swap)
        _check_is_new(file.path, found, directory.path, manifest)
        listing = written_files(directory, manifest)
        name = free_name(found.task, file.pack, manifest, directory, listing)
        write(directory, listing, with_task(manifest, found, name), {name: file.pack})
        return found


def _check_belongs(
    file: UpdateFile, update: Update, bundle: Path, manifest: Manifest, swap: Inputs
) -> None:
    program = manifest.files[PROGRAM].sha256
    if update.program != program:
        raise BundleError(
            f"{file.path} is for another bundle: its program is {update.program[:12]}…, that of "
            f"{bundle} is {program[:12]}…; get the update of this bundle"
        )
    if update.binding != swap.binding:
        raise BundleError(
            f"{file.path} is of another layout: it is bound to {update.binding[:12]}…, {bundle} "
            f"to {swap.binding[:12]}…; get the update of this bundle"
        )
    if bool(manifest.classes) != (update.classes is not None):
        raise BundleError(
            f"{file.path} is damaged: its classes do not fit {bundle}; download it again"
        )
    size = next(iter(swap.packs.values())).payload_bytes
    content = np.frombuffer(file.pack, np.uint8)
    bound_payload(content, file.path / PACK, size, bytes.fromhex(swap.binding))


def _check_is_new(path: Path, update: Update, bundle: Path, manifest: Manifest) -> None:
    """Raise ``TaskError`` unless the task is new or its version greater."""
    task, version = update.task, update.version
    check_name(bundle, manifest, task)
    if task not in manifest.tasks:
        return
    installed = manifest.versions.get(task, 1)
    if version < installed:
        raise TaskError(
            f"{path} has version {version} of task {task!r}, older than {installed} in {bundle}; "
            "get the newest update, or remove the task first"
        )
    if version == installed and update.pack.sha256 == manifest.packs[task].sha256:
        raise TaskError(f"{path} is installed already: {bundle} has version {version} of {task!r}")
    if version == installed:
        raise TaskError(
            f"{bundle} has another task {task!r} of version {version}; make the update with a "
            "greater version, or remove the task first",
            options=["version"],
        )
