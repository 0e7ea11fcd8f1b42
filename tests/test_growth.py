"""A bundle grows and shrinks by files: program and other packs stay byte for byte."""

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from statistics import mean
from unittest import mock

import pytest
import torch
from conftest import save_adapter, tiny_llama
from safetensors.torch import load_file, save_file

from hydraopt.adapters import read_adapter, read_adapters
from hydraopt.errors import AdapterError, BundleError, OutputError, TaskError
from hydraopt.evaluation import adapted
from hydraopt.files import LIST, output_directory, outputs
from hydraopt.formats.manifest import BUNDLE, MANIFEST, Manifest
from hydraopt.lowering import growth
from hydraopt.lowering.growth import add_task, remove_task
from hydraopt.merging import relative_errors
from hydraopt.runtime import Session, verify

pytestmark = pytest.mark.slow

PROMPT = [5, 17, 99, 200, 3]


@pytest.fixture
def copied(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "copy")


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def logits(bundle, task):
    session = Session.open(bundle)
    session.switch(task)
    return session.forward(PROMPT)


def test_a_task_that_is_added_runs_and_nothing_else_changes(copied, adapter_dirs):
    before = contents(copied)
    added = add_task(copied, str(adapter_dirs[1]), "later")
    after = contents(copied)
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed == {"later.pack", "manifest.json", LIST}
    assert verify(copied)["tasks"] == 4
    model = tiny_llama()
    with adapted(model, added.task_factors("later")), torch.no_grad():
        wanted = model(torch.tensor([PROMPT])).logits[0, -1]
    torch.testing.assert_close(logits(copied, "later"), wanted, atol=1e-4, rtol=0)


def test_its_error_is_about_that_of_the_task_with_the_same_adapter(copied, adapter_dirs, merged):
    """The shared rows are the same; only the columns are fitted and scaled anew."""
    adapters = read_adapters(adapter_dirs[1:2])
    before = relative_errors(adapters, merged)["beta"]
    after = add_task(copied, str(adapter_dirs[1]), "later").errors["later"]
    assert mean(after.values()) < 1.1 * mean(before.values())


def test_removing_it_restores_the_bundle(copied, adapter_dirs):
    before = contents(copied)
    add_task(copied, str(adapter_dirs[1]), "later")
    remove_task(copied, "later")
    assert contents(copied) == before


def test_a_pack_stays_while_another_task_uses_it(copied):
    manifest = Manifest.read(copied)
    packs = {**manifest.packs, "twin": manifest.packs["beta"]}
    replace(manifest, packs=packs).write(copied / "manifest.json")
    remove_task(copied, "beta")
    assert verify(copied)["tasks"] == 3
    remove_task(copied, "twin")
    assert not (copied / "packs" / "beta.pack").exists()


def test_a_task_that_comes_back_leaves_the_pack_that_others_use(copied, adapter_dirs):
    manifest = Manifest.read(copied)
    packs = {**manifest.packs, "twin": manifest.packs["beta"]}
    replace(manifest, packs=packs).write(copied / "manifest.json")
    before = logits(copied, "twin")
    remove_task(copied, "beta")
    add_task(copied, str(adapter_dirs[0]), "beta")
    assert torch.equal(logits(copied, "twin"), before)
    assert verify(copied)["tasks"] == 4


def test_changes_at_the_same_time_all_hold(copied, adapter_dirs):
    """Each is a reader of what the one before it wrote."""
    calls = [
        *(lambda name=name: add_task(copied, str(adapter_dirs[0]), name) for name in "xyz"),
        lambda: remove_task(copied, "gamma"),
    ]
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {*Manifest.read(copied).tasks} == {"alpha", "beta", "x", "y", "z"}
    assert verify(copied)["tasks"] == 5


def test_what_does_not_fit_is_refused_and_leaves_the_bundle(copied, adapter_dirs, tmp_path):
    save_adapter(tmp_path / "foreign", base_id="another/base")
    before = contents(copied)
    for call, error, message in [
        (lambda: add_task(copied, str(adapter_dirs[0]), "alpha"), TaskError, "already"),
        (lambda: add_task(copied, str(adapter_dirs[0]), "Alpha"), TaskError, "already"),
        (lambda: add_task(copied, str(adapter_dirs[0]), "../x"), AdapterError, "task name"),
        (lambda: add_task(copied, str(tmp_path / "foreign"), "x"), AdapterError, "for base model"),
        (lambda: add_task(tmp_path, str(adapter_dirs[0]), "x"), BundleError, "is missing"),
        (lambda: remove_task(copied, "x"), TaskError, "there are: alpha, beta, gamma"),
    ]:
        with pytest.raises(error, match=message):
            call()
    assert contents(copied) == before


def test_the_last_task_stays(copied):
    remove_task(copied, "alpha")
    remove_task(copied, "beta")
    with pytest.raises(TaskError, match="only task"):
        remove_task(copied, "gamma")


def test_an_adapter_of_other_modules_is_refused(copied, tmp_path):
    save_adapter(tmp_path / "wide", target_modules=["lm_head"])
    assert "lm_head" in read_adapter(str(tmp_path / "wide")).factors
    with pytest.raises(AdapterError, match="no such module; export a new bundle"):
        add_task(copied, str(tmp_path / "wide"), "wide")


def test_an_adapter_of_which_the_bundle_keeps_nothing_is_refused(copied, merged, tmp_path):
    """Its rows are at right angles to those that the bundle's tasks share."""
    save_adapter(tmp_path / "stranger", 1)
    weights = tmp_path / "stranger" / "adapter_model.safetensors"
    tensors = load_file(weights)
    for name, a in tensors.items():
        if "lora_A" in name:
            module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            basis = torch.linalg.qr(merged.factors("alpha", module).a.T).Q
            tensors[name] = a - a @ basis @ basis.T
    save_file(tensors, weights)
    before = contents(copied)
    with pytest.raises(AdapterError, match=r"keeps \d\.\d% of adapter .*; export a new"):
        add_task(copied, str(tmp_path / "stranger"), "stranger")
    assert contents(copied) == before


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
    with pytest.raises(OutputError, match="packs is a link or no directory, expected one of"):
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
    place = growth.Held._place

    def killed(directory, source, name):
        if name == MANIFEST:
            os._exit(9)
        place(directory, source, name)

    pid = os.fork()
    if not pid:
        with mock.patch.object(growth.Held, "_place", killed):
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

    where, name = (growth, "encode_adapter") if first == "add" else (outputs, "_replace")
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
