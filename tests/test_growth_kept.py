"""A bundle that grows keeps what is not ours, and stays whole through kills and full disks."""

import os
import shutil
import threading
from pathlib import Path
from unittest import mock

import pytest
from own_outputs import contents

from hydraopt.bundles import add_task, remove_task
from hydraopt.bundles import tasks as bundle_tasks
from hydraopt.errors import OutputError
from hydraopt.files import LIST, LockedDirectory, output_directory, outputs
from hydraopt.formats.manifest import BUNDLE, MANIFEST, Manifest
from hydraopt.runtime import verify

pytestmark = pytest.mark.slow


def place_foreign(bundle: Path) -> dict[Path, bytes]:
    """What users keep in a directory; path -> content."""
    inner = shutil.copytree(bundle, bundle / "archive" / "bundle")
    (inner / "packs" / "unlisted.pack").write_text("mine")
    for name in (
        ".git/objects/pack/pack-1.pack",
        "assets/textures.pack",
        "packs/.svn/entries",
        "packs/.hidden",
        "packs/mine.pack",
        "packs/later.pack",
        "packs/old/v1.pack",
        "packs/.later.pack.0123abcd",
        ".manifest.json.0123abcd",
        f".{LIST}.0123456789abcdef/new/0",
    ):
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_text(name)
    return {path: content for path, content in contents(bundle).items() if is_foreign(path, bundle)}


def is_foreign(path, bundle):
    ours = {MANIFEST, LIST, *Manifest.read(bundle).names}
    return path.relative_to(bundle).as_posix() not in ours


def test_files_in_a_bundle_that_are_not_ours_stay(copied, adapter_dirs):
    foreign = place_foreign(copied)
    add_task(copied, str(adapter_dirs[0]), "later")
    (name,) = {Manifest.read(copied).packs["later"].file}
    assert name.startswith("packs/later-")  # packs/later.pack is the user's
    assert verify(copied)["tasks"] == 4
    assert contents(copied).items() >= foreign.items()
    remove_task(copied, "later")
    remove_task(copied, "alpha")
    assert not (copied / name).exists()
    assert {p: c for p, c in contents(copied).items() if is_foreign(p, copied)} == foreign


def test_nothing_is_written_or_removed_through_a_link(copied, adapter_dirs, tmp_path):
    (tmp_path / "home").mkdir()
    (copied / "packs").rename(tmp_path / "home" / "packs")
    (copied / "packs").symlink_to("../home/packs")
    (tmp_path / "home" / "packs" / ".bashrc").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match="packs is a link or not a directory"):
        add_task(copied, str(adapter_dirs[0]), "later")
    assert contents(tmp_path) == before
    remove_task(copied, "alpha")
    assert verify(copied)["tasks"] == 2
    assert contents(tmp_path / "home").items() <= before.items()
    assert (tmp_path / "home" / "packs" / "alpha.pack").exists()


def test_a_bundle_without_a_list_grows_by_its_manifest(copied, adapter_dirs):
    """As one that an earlier version exported."""
    (copied / LIST).unlink()
    foreign = place_foreign(copied)
    remove_task(copied, "alpha")
    assert not (copied / "packs" / "alpha.pack").exists()
    add_task(copied, str(adapter_dirs[0]), "alpha")
    assert verify(copied)["tasks"] == 3
    assert contents(copied).items() >= foreign.items()


def test_a_pack_that_was_changed_stays(copied):
    (copied / "packs" / "alpha.pack").write_text("edited")
    remove_task(copied, "alpha")
    assert (copied / "packs" / "alpha.pack").read_text() == "edited"


@pytest.mark.parametrize("call", ["add", "remove"])
def test_what_a_call_left_that_was_killed_between_pack_and_manifest_goes(
    copied, adapter_dirs, call
):
    place = LockedDirectory._place

    def killed(directory, source, name):
        if name == MANIFEST:
            os._exit(9)
        place(directory, source, name)

    pid = os.fork()
    if not pid:
        with mock.patch.object(LockedDirectory, "_place", killed):
            add_task(copied, str(adapter_dirs[0]), "later")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert (copied / "packs" / "later.pack").exists()
    assert verify(copied)["tasks"] == 3
    if call == "add":
        add_task(copied, str(adapter_dirs[0]), "other")
    else:
        remove_task(copied, "alpha")
    assert not (copied / "packs" / "later.pack").exists()
    names = {path.relative_to(copied).as_posix() for path in contents(copied)}
    assert names == {MANIFEST, LIST, *Manifest.read(copied).names}


def test_a_full_disk_leaves_no_pack(copied, adapter_dirs):
    before = contents(copied)
    with mock.patch("os.fsync", side_effect=OSError(28, "No space left on device")):
        with pytest.raises(OutputError, match="No space left on device"):
            add_task(copied, str(adapter_dirs[0]), "later")
    assert contents(copied) == before


@pytest.mark.parametrize("first", ["add", "export"])
def test_a_task_is_added_to_a_whole_bundle_while_another_takes_its_place(
    copied, bundle, adapter_dirs, first
):
    """The one that comes second finds what the first one left."""
    begun, go_on = threading.Event(), threading.Event()

    def add():
        add_task(copied, str(adapter_dirs[0]), "later")

    def export():
        with output_directory(copied, BUNDLE, overwrite=True) as new:
            shutil.copytree(bundle, new, dirs_exist_ok=True, ignore=lambda *_: {LIST})
            remove_task(new, "alpha")
            (new / LIST).unlink()
            (new / "new").touch()

    def paused(call):
        def wait(*arguments):
            if not begun.is_set():
                begun.set()
                assert go_on.wait(60)
            return call(*arguments)

        return wait

    where, name = (bundle_tasks, "encode_adapter") if first == "add" else (outputs, "_replace")
    with mock.patch.object(where, name, paused(getattr(where, name))):
        calls = (add, export) if first == "add" else (export, add)
        threads = [threading.Thread(target=call) for call in calls]
        threads[0].start()
        assert begun.wait(60)
        threads[1].start()
        threads[1].join(0.5)
        go_on.set()
        for thread in threads:
            thread.join()
    tasks = {"beta", "gamma"} if first == "add" else {"beta", "gamma", "later"}
    assert {*Manifest.read(copied).tasks} == tasks
    assert verify(copied)["tasks"] == len(tasks)
    assert (copied / "new").exists()
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]
