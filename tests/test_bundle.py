"""Bundles: exact files, shared packs, and every kind of damage refused with a clear line."""

import json
import shutil

import pytest
import torch
from conftest import FLOAT32, save_adapter
from sealed_files import reseal

from hydraopt.adapters import read_adapters
from hydraopt.bundles import add_task, remove_task
from hydraopt.errors import BundleError, OutputError
from hydraopt.formats.manifest import Manifest
from hydraopt.lowering.bundle import export_bundle
from hydraopt.merging.hydraopt import hydraopt
from hydraopt.runtime import Session, verify
from hydraopt.stored import MergedAdapters

pytestmark = pytest.mark.slow

PROMPT = [5, 17, 99, 200, 3]


@pytest.fixture(scope="module")
def other_bundle(tmp_path_factory, base):
    """Same base, same shapes, other adapters: its packs would fit but for the shared rows."""
    root = tmp_path_factory.mktemp("other")
    for seed, name in enumerate(("alpha", "beta", "gamma")):
        save_adapter(root / name, 10 + seed)
    hydraopt(read_adapters([root / n for n in ("alpha", "beta", "gamma")]), rank=8).save(root / "m")
    export_bundle(MergedAdapters.load(root / "m"), str(base), root / "bundle", FLOAT32)
    return root / "bundle"


@pytest.fixture
def single(tmp_path, merged, base):
    export_bundle(merged, str(base), tmp_path / "single", FLOAT32, single_pack=True)
    return tmp_path / "single"


def contents(directory):
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


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


def test_one_file_may_hold_the_packs_of_all_tasks(single, bundle, adapter_dirs):
    """The rest is the same to the byte, and so are the answers; a new task has its own file."""
    expected, found = contents(bundle), contents(single)
    assert expected.keys() ^ found.keys() == {
        "tasks.pack",
        *(f"packs/{task}.pack" for task in ("alpha", "beta", "gamma")),
    }
    assert found["model.pte"] == expected["model.pte"]
    for task in ("alpha", "beta", "gamma"):
        assert torch.equal(logits(single, task), logits(bundle, task))
    add_task(single, str(adapter_dirs[0]), "later")
    remove_task(single, "alpha")
    assert verify(single)["tasks"] == 3
    assert (single / "packs" / "later.pack").exists()
    assert contents(single)["tasks.pack"] == found["tasks.pack"]


def test_the_manifest_reads_back_what_was_written(bundle, tmp_path):
    manifest = Manifest.read(bundle)
    manifest.write(tmp_path / "manifest.json")
    assert Manifest.read(tmp_path) == manifest
    model = manifest.causal_lm
    assert model.eos_ids == (257,)
    assert (model.max_length, model.prefill_length) == (32, 31)
    assert model.chat is None


def test_tasks_of_one_cluster_share_a_pack(adapter_dirs, base, tmp_path):
    copy = shutil.copytree(adapter_dirs[0], tmp_path / "alpha-again")
    adapters = read_adapters([*adapter_dirs, copy])
    export_bundle(hydraopt(adapters, clusters=3), str(base), tmp_path / "bundle", FLOAT32)
    packs = Manifest.read(tmp_path / "bundle").packs
    assert packs["alpha"] == packs["alpha-again"]
    assert len(list((tmp_path / "bundle" / "packs").iterdir())) == 3
    session = Session.open(tmp_path / "bundle")
    session.switch("alpha-again")
    session.forward(PROMPT)


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


PLACE = {"file": "packs/alpha.pack", "offset": 0, "length": 1, "sha256": "0" * 64}
CLOSED = {"mode": "methods", "methods": {"alpha": "task_0"}, "constant_bytes": 0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 9}, "format version 9, expected 7; update hydraopt"),
        ({"format_version": 4}, "expected 7; write it again with `hydraopt export`"),
        ({"files": None}, "files must be object"),
        ({"surprise": 1}, "surprise"),
        ({"files": {}}, "files must contain"),
        ({"model": {}}, "model must contain .*kind"),
        ({"model": {"kind": "x"}}, "model.kind must be one of"),
        ({"model": {"kind": "image"}}, "model must contain .*shape"),
        ({"swap": {"mode": "x"}}, "swap.mode must be one of"),
        ({"swap": CLOSED | {"packs": {}}}, "swap must not contain .*packs"),
        ({"swap": CLOSED | {"methods": {}}}, "methods must contain at least 1"),
        ({"classes": {"alpha": 2}}, "its classes do not fit"),
    ],
)
def test_a_manifest_of_another_version_or_a_damaged_one_is_refused(copied, change, message):
    changed_manifest(copied, **change)
    assert_refused(copied, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "encoder"}, "model must contain"),
        ({"max_length": "32"}, "max_length must be integer"),
        ({"max_length": None}, "max_length must be integer"),
        ({"prefill_length": 0}, "prefill_length must be"),
        ({"prefill_length": 32}, "its lengths do not fit"),
        ({"vocabulary": 10**30}, "vocabulary must be"),
        ({"eos_ids": [1.5]}, "eos_ids"),
        ({"chat": {"prefix": "x"}}, "chat"),
        ({"chat": {"prefix": "x", "suffix": 1, "strip": False}}, "chat"),
        ({"pooling": None}, "model must not contain .*pooling"),
    ],
)
def test_what_a_manifest_says_of_a_model_is_whole_and_of_its_kind(copied, change, message):
    changed_manifest(copied, model=read(copied)["model"] | change)
    assert_refused(copied, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factors": [1]}, "factors must be object"),
        ({"static_rows": 1}, "static_rows must be boolean"),
        ({"methods": {"alpha": "forward"}}, "swap must not contain .*methods"),
        ({"packs": {}}, "packs must contain at least 1"),
        ({"packs": {"alpha": PLACE | {"file": "../outside.pack"}}}, "must match pattern"),
        ({"packs": {"alpha": PLACE | {"file": "/etc/passwd"}}}, "must match pattern"),
        ({"packs": {"../x": PLACE}}, "must be named by"),
        ({"packs": {"alpha": PLACE}}, "its SHA-256 differs"),
        ({"packs": {"alpha": "model.pte"}}, "must be object"),
    ],
)
def test_what_a_manifest_says_of_tasks_is_whole(copied, change, message):
    changed_manifest(copied, swap=read(copied)["swap"] | change)
    assert_refused(copied, message)


def test_a_bundle_of_packs_without_their_layout_is_refused(copied):
    files = read(copied)["files"]
    del files["layout.json"]
    changed_manifest(copied, files=files)
    assert_refused(copied, "its files do not fit")


def assert_refused(bundle, message):
    with pytest.raises(BundleError, match=message) as error:
        verify(bundle)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_any_change_of_a_manifest_is_refused(copied):
    path = copied / "manifest.json"
    good = path.read_bytes()
    for position in range(len(good)):
        changed = bytearray(good)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(BundleError):
            Manifest.read(copied)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is damaged"),
        (b"[" * 100_000, "is damaged"),
        (b"\xff\xfe", "is damaged"),
        (b'{"format_version": NaN}', "NaN is no number"),
        (b'{"format_version": ' + b"9" * 400 + b"}", "a number of 400 digits"),
        (b" " * ((64 << 20) + 1), "expected at most 67,108,864"),
    ],
)
def test_what_is_no_manifest_is_one_line(tmp_path, content, message):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=message) as error:
        Manifest.read(tmp_path)
    assert len(str(error.value)) < 500


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
