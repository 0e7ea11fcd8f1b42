"""A bundle grows and shrinks by files: program and other packs stay byte for byte."""

import threading
from dataclasses import replace
from statistics import mean
from unittest import mock

import pytest
import torch
from conftest import save_adapter, tiny_llama
from own_outputs import contents
from safetensors.torch import load_file, save_file

from hydraopt.adapters import read_adapter, read_adapters
from hydraopt.bundles import add_task, remove_task
from hydraopt.errors import AdapterError, BundleError, TaskError
from hydraopt.evaluation import adapted
from hydraopt.files import LIST
from hydraopt.formats.manifest import Manifest
from hydraopt.runtime import Session, verify
from hydraopt.stored import relative_errors

pytestmark = pytest.mark.slow

PROMPT = [5, 17, 99, 200, 3]


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


def test_a_change_reads_no_other_pack_and_the_manifest_once(copied, adapter_dirs):
    """A bundle of a thousand tasks takes another one as fast as its manifest can be written."""
    for pack in Manifest.read(copied).packs.values():
        (copied / pack.file).write_bytes(b"not a pack")
    before = contents(copied / "packs")
    with mock.patch.object(Manifest, "read", wraps=Manifest.read) as read:
        add_task(copied, str(adapter_dirs[1]), "later")
        remove_task(copied, "later")
    assert read.call_count == 2
    assert contents(copied / "packs") == before


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
    replace(manifest, swap=replace(manifest.swap, packs=packs)).write(copied / "manifest.json")
    remove_task(copied, "beta")
    assert verify(copied)["tasks"] == 3
    remove_task(copied, "twin")
    assert not (copied / "packs" / "beta.pack").exists()


def test_a_task_that_comes_back_leaves_the_pack_that_others_use(copied, adapter_dirs):
    manifest = Manifest.read(copied)
    packs = {**manifest.packs, "twin": manifest.packs["beta"]}
    replace(manifest, swap=replace(manifest.swap, packs=packs)).write(copied / "manifest.json")
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
