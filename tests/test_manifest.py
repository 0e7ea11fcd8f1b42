"""``manifest.json``: what it says of models and swaps, written, read and refused."""

import itertools
import json
from dataclasses import replace

import pytest
from sealed_files import reseal

from hydraopt.errors import BundleError
from hydraopt.formats.chat import ChatTemplate, Conversation
from hydraopt.formats.manifest import MANIFEST, Manifest
from hydraopt.formats.models import CausalLm, Encoder, Image, Pooling, Preprocessing
from hydraopt.formats.pack import Pack
from hydraopt.formats.records import FileRecord
from hydraopt.formats.swaps import Data, Inputs, Methods, Static

FILE = FileRecord(1, "0" * 64)
PACKS = {"alpha": Pack("packs/alpha.pack", 0, 70, "0" * 64)}
BETWEEN = Conversation(("[", "]"), ">", "|<", ("system", "assistant"), ("<think>", "</think>"))
CHAT = ChatTemplate("<", ">", strip=True, arguments={"a": "false"}, conversation=BETWEEN)
NO_MORE = Conversation(None, ">", "|<")
ONE_MESSAGE = ChatTemplate("<", ">", strip=False)
LM = CausalLm(258, 32, 31, "none", "llm", (257,), CHAT)
MODELS = (
    LM,
    CausalLm(258, 32, 8, "4w", "portable"),
    CausalLm(258, 32, 8, "4w", "portable", chat=ONE_MESSAGE),
    CausalLm(258, 32, 8, "4w", "portable", chat=replace(ONE_MESSAGE, conversation=NO_MORE)),
    Encoder(258, 32, "none", per_token=True),
    Encoder(258, 32, "8w", pooling=Pooling("cls", normalized=True, prompt="query: ")),
    Image((3, 32, 32)),
    Image((3, 32, 32), Preprocessing("bicubic", 1 / 255, (0.5, 0.4, 0.3), (1, 0.5, 0.25), 40)),
)
GROWTH = {"layout.json": FILE, "shared.pack": FILE}
INPUTS = Inputs(PACKS, {"q.A": (1, 4, 8)}, "0" * 32, True, 9, GROWTH)
SWAPS = (INPUTS, Methods({"alpha": "task_0"}, 9), Data(PACKS), Static(("alpha", "beta"), 0))


def manifest(model, swap) -> Manifest:
    """A manifest of a bundle that is not there."""
    files = {"model.pte": FILE, "tokenizer.json": FILE}
    classes = dict.fromkeys(swap.tasks, 2)
    return Manifest("base", "0" * 64, "1.5", "m", 9, "none", model, swap, files, classes, 1e-6)


@pytest.mark.parametrize(("model", "swap"), itertools.product(MODELS, SWAPS))
def test_every_model_with_every_swap_reads_back_as_it_was_written(model, swap, tmp_path):
    wanted = manifest(model, swap)
    wanted.write(tmp_path / MANIFEST)
    found = Manifest.read(tmp_path)
    assert found == wanted
    assert found.tasks == swap.tasks


@pytest.fixture
def written(tmp_path):
    """The directory of a manifest of a causal LM that swaps inputs."""
    manifest(LM, INPUTS).write(tmp_path / MANIFEST)
    for name in manifest(LM, INPUTS).files:
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def read(bundle):
    return json.loads((bundle / MANIFEST).read_text())


def changed(bundle, **changes):
    reseal(bundle / MANIFEST, **changes)


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 41, 8), (3, 8, 41)])
def test_an_image_that_resized_pictures_do_not_fill_is_refused(shape, written):
    wide = Image(shape, Preprocessing("bilinear", 1, (0, 0, 0), (1, 1, 1), 40))
    manifest(wide, INPUTS).write(written / MANIFEST)
    assert_refused(written, "its pictures do not fit")


def test_what_is_asked_of_a_causal_lm_is_refused_of_another_kind():
    with pytest.raises(BundleError, match="is of kind image, expected causal_lm"):
        _ = manifest(Image((3, 8, 8)), INPUTS).causal_lm


PLACE = {"file": "packs/alpha.pack", "offset": 0, "length": 1, "sha256": "0" * 64}
CLOSED = {"mode": "methods", "methods": {"alpha": "task_0"}, "constant_bytes": 0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 9}, "format version 9, expected 8; update hydraopt"),
        ({"format_version": 4}, "expected 8; write it again with `hydraopt export`"),
        ({"files": None}, "files must be object"),
        ({"surprise": 1}, "surprise"),
        ({"files": {}}, "files must contain"),
        ({"model": {}}, "model must contain .*kind"),
        ({"model": {"kind": "x"}}, "model.kind must be one of"),
        ({"model": {"kind": "image"}}, "model must contain .*shape"),
        ({"swap": {"mode": "x"}}, "swap.mode must be one of"),
        ({"swap": CLOSED | {"packs": {}}}, "swap must not contain .*packs"),
        ({"swap": CLOSED | {"methods": {}}}, "methods must contain at least 1"),
        ({"classes": {"beta": 2}}, "its classes do not fit"),
    ],
)
def test_a_manifest_of_another_version_or_a_damaged_one_is_refused(written, change, message):
    changed(written, **change)
    assert_refused(written, message)


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
        ({"chat": vars(ONE_MESSAGE) | {"conversation": {"answer": "x"}}}, "chat"),
        ({"pooling": None}, "model must not contain .*pooling"),
    ],
)
def test_what_a_manifest_says_of_a_model_is_whole_and_of_its_kind(written, change, message):
    changed(written, model=read(written)["model"] | change)
    assert_refused(written, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factors": [1]}, "factors must be object"),
        ({"static_rows": 1}, "static_rows must be boolean"),
        ({"methods": {"alpha": "forward"}}, "swap must not contain .*methods"),
        ({"binding": "0" * 31}, "binding must match"),
        ({"growth": None}, "growth must be object"),
        ({"packs": {"alpha": PLACE, "beta": PLACE | {"length": 9}}}, "its packs do not fit"),
        ({"packs": {}}, "packs must contain at least 1"),
        ({"packs": {"alpha": PLACE | {"file": "../outside.pack"}}}, "must match pattern"),
        ({"packs": {"alpha": PLACE | {"file": "/etc/passwd"}}}, "must match pattern"),
        ({"packs": {"../x": PLACE}}, "must be named by"),
        ({"packs": {"alpha": "model.pte"}}, "must be object"),
    ],
)
def test_what_a_manifest_says_of_tasks_is_whole(written, change, message):
    changed(written, swap=read(written)["swap"] | change)
    assert_refused(written, message)


def test_shared_rows_are_in_the_program_or_among_the_files_of_a_phone(written):
    changed(written, swap=read(written)["swap"] | {"static_rows": False})
    assert_refused(written, "its files do not fit")
    (written / "shared.pack").write_bytes(b"")
    changed(
        written, files=read(written)["files"] | {"shared.pack": {"bytes": 0, "sha256": "0" * 64}}
    )
    assert not Manifest.read(written).swap.static_rows
    changed(written, swap=read(written)["swap"] | {"static_rows": True, "growth": {}})
    assert_refused(written, "growth must contain")


def assert_refused(bundle, message):
    with pytest.raises(BundleError, match=message) as error:
        Manifest.read(bundle)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is damaged"),
        (b"[" * 100_000, "is damaged"),
        (b"\xff\xfe", "is damaged"),
        (b'{"format_version": NaN}', "NaN is not a JSON number"),
        (b'{"format_version": ' + b"9" * 400 + b"}", "a number of 400 digits"),
        (b" " * ((64 << 20) + 1), "expected at most 67,108,864"),
    ],
)
def test_what_is_no_manifest_is_one_line(tmp_path, content, message):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=message) as error:
        Manifest.read(tmp_path)
    assert len(str(error.value)) < 500
