"""Bundles: exact files, shared packs, and every kind of damage refused with a clear line."""

import json
import shutil

import pytest
import torch
from conftest import FLOAT32
from sealed_files import reseal

from hydraopt.adapters import read_adapters
from hydraopt.bundles import add_task, remove_task
from hydraopt.cli.records import describe
from hydraopt.errors import BundleError, OutputError
from hydraopt.evaluation import adapted
from hydraopt.formats.manifest import Manifest
from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.bundle import export_bundle
from hydraopt.merging.hydraopt import hydraopt
from hydraopt.packing import CodedAdapters, code_verbatim
from hydraopt.runtime import Session, verify
from hydraopt.zoo import ADAPTERS, BASE

pytestmark = pytest.mark.slow

PROMPT = [5, 17, 99, 200, 3]


def logits(bundle, task):
    session = Session.open(bundle)
    session.switch(task)
    return session.forward(PROMPT)


def flip_a_bit(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))


def test_a_bundle_has_exactly_these_files(bundle):
    names = {str(file.relative_to(bundle)) for file in bundle.rglob("*") if file.is_file()}
    packs = {f"packs/{task}.pack" for task in ("alpha", "beta", "gamma")}
    once = {"model.pte", "tokenizer.json", "layout.json", "shared.pack"}
    assert names == once | packs | {"manifest.json", "hydraopt-files.json"}
    assert once | packs == Manifest.read(bundle).names


def test_one_file_may_hold_the_packs_of_all_tasks(zoo_bundle, tmp_path):
    """They are those of a file each, and give their answers; a new task has its own file."""
    single = shutil.copytree(zoo_bundle, tmp_path / "single")
    manifest, together = Manifest.read(single), (single / "tasks.pack").read_bytes()
    assert not (single / "packs").exists()
    coded = CodedAdapters.of_bundle(single, manifest, manifest.swap, manifest.tasks)
    for task, pack in coded.write_packs(tmp_path).items():
        place = manifest.packs[task]
        assert place.file == "tasks.pack" and pack.file == f"packs/{task}.pack"
        found = together[place.offset : place.offset + place.length]
        assert found == (tmp_path / pack.file).read_bytes()
    model = load_base(str(BASE), coded.base_model).model
    for task in ("money-de", "words-pt"):
        with adapted(model, coded.task_factors(task)), torch.no_grad():
            wanted = model(torch.tensor([PROMPT])).logits[0, -1]
        torch.testing.assert_close(logits(single, task), wanted, atol=1e-4, rtol=0)
    add_task(single, str(ADAPTERS / "money-de"), "later")
    remove_task(single, "money-de")
    assert verify(single)["tasks"] == 40
    assert (single / "packs" / "later.pack").exists()
    assert (single / "tasks.pack").read_bytes() == together


def test_the_manifest_reads_back_what_was_written(bundle, tmp_path):
    manifest = Manifest.read(bundle)
    manifest.write(tmp_path / "manifest.json")
    assert Manifest.read(tmp_path) == manifest
    model = manifest.causal_lm
    assert model.eos_ids == (257,)
    assert (model.max_length, model.prefill_length) == (32, 31)
    assert model.chat is None


def test_tasks_of_one_cluster_share_a_pack(adapter_dirs, copied, tmp_path):
    alike = shutil.copytree(adapter_dirs[0], tmp_path / "alpha-again")
    coded = code_verbatim(hydraopt(read_adapters([*adapter_dirs, alike]), clusters=3))
    (tmp_path / "packed").mkdir()
    packs = coded.write_packs(tmp_path / "packed")
    assert packs["alpha"] == packs["alpha-again"]
    assert len(list((tmp_path / "packed" / "packs").iterdir())) == 3
    swap = read(copied)["swap"]
    swap["packs"]["alpha-again"] = swap["packs"]["alpha"]
    changed_manifest(copied, swap=swap)
    assert verify(copied)["tasks"] == 4
    assert logits(copied, "alpha-again").equal(logits(copied, "alpha"))


def test_verify_passes_a_good_bundle(bundle):
    assert verify(bundle) == {"bundle": str(bundle), "files": 7, "tasks": 3}


@pytest.mark.parametrize("name", ["model.pte", "packs/beta.pack", "shared.pack", "tokenizer.json"])
@pytest.mark.parametrize("position", [200, -5])
def test_a_flipped_bit_is_found(copied, name, position):
    flip_a_bit(copied / name, position)
    with pytest.raises(BundleError, match=f"{name} is damaged or from another"):
        Session.open(copied)
    with pytest.raises(BundleError, match=f"{name} is damaged"):
        verify(copied)


def test_a_missing_and_a_truncated_file_are_found(copied):
    pack = copied / "packs" / "beta.pack"
    pack.write_bytes(pack.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"beta\.pack is damaged"):
        Session.open(copied)
    pack.unlink()
    with pytest.raises(BundleError, match=r"beta\.pack cannot be read \(No such file"):
        Session.open(copied)


def test_a_pack_that_changes_after_opening_is_refused(copied, other_bundle):
    session = Session.open(copied)
    pack = copied / "packs" / "beta.pack"
    shutil.copy(other_bundle / "packs" / "beta.pack", pack)
    with pytest.raises(BundleError, match=r"from another bundle|it ends after"):
        session.switch("beta")
    pack.write_bytes(b"nonsense")
    with pytest.raises(BundleError, match="it ends after 8 bytes"):
        session.switch("beta")


def test_a_switch_that_fails_changes_nothing(copied):
    session = Session.open(copied)
    session.switch("alpha")
    session.forward(PROMPT)
    wanted = session.forward([7])
    session.switch("alpha")
    session.forward(PROMPT)
    (copied / "packs" / "beta.pack").write_bytes(b"nonsense")
    with pytest.raises(BundleError, match="it ends after 8 bytes"):
        session.switch("beta")
    assert (session.task, session.position) == ("alpha", len(PROMPT))
    assert session.forward([7]).equal(wanted)


def test_a_pack_of_another_bundle_is_refused_even_with_a_forged_manifest(copied, other_bundle):
    name = "packs/beta.pack"
    shutil.copy(other_bundle / name, copied / name)
    with pytest.raises(BundleError, match=r"from another bundle|it ends after"):
        Session.open(copied)
    swap = read(copied)["swap"]
    swap["packs"]["beta"] = read(other_bundle)["swap"]["packs"]["beta"]
    changed_manifest(copied, swap=swap)
    session = Session.open(copied)
    with pytest.raises(BundleError, match="belongs to another layout"):
        session.switch("beta")


def read(bundle):
    return json.loads((bundle / "manifest.json").read_text())


def changed_manifest(bundle, **changes):
    reseal(bundle / "manifest.json", **changes)


def test_a_pack_that_the_manifest_describes_otherwise_is_refused(copied):
    swap = read(copied)["swap"]
    swap["packs"]["alpha"]["sha256"] = "0" * 64
    changed_manifest(copied, swap=swap)
    with pytest.raises(BundleError, match="its SHA-256 differs"):
        verify(copied)


def test_a_phone_needs_neither_the_layout_nor_rows_that_are_layers(
    quantised_bundle, adapter_dirs, tmp_path
):
    bundle = shutil.copytree(quantised_bundle, tmp_path / "bundle")
    wanted = logits(bundle, "beta")
    manifest, about = Manifest.read(bundle), describe(bundle)
    assert {*manifest.growth} == {"layout.json", "shared.pack"}
    assert about["shared_bytes"] == 0
    assert about["total_bytes"] == sum((bundle / x).stat().st_size for x in manifest.phone_names)
    for name in manifest.growth:
        (bundle / name).unlink()
    assert verify(bundle)["tasks"] == 3
    assert logits(bundle, "beta").equal(wanted)
    with pytest.raises(BundleError, match=r"layout\.json is missing"):
        add_task(bundle, str(adapter_dirs[1]), "later")


def test_a_directory_that_is_no_bundle_is_refused(tmp_path, copied):
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        Session.open(tmp_path)
    (copied / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        Session.open(copied)


def test_an_existing_bundle_is_refused_unless_overwritten(merged, base, bundle):
    before = Manifest.read(bundle)
    with pytest.raises(OutputError, match="exists already"):
        export_bundle(merged, str(base), bundle, FLOAT32)
    assert Manifest.read(bundle) == before
