"""A task that is added with prompts has codes calibrated for the base of its bundle."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from command_line import fails
from rounded_answers import divergence_from

from hydraopt.adapters import AdapterSet, read_adapters
from hydraopt.adding import add_task
from hydraopt.calibration import codes
from hydraopt.compression import compress
from hydraopt.errors import UsageError
from hydraopt.formats.manifest import Manifest
from hydraopt.lowering.kept_rounding import kept_student
from hydraopt.lowering.settings import ExportSettings
from hydraopt.packing import CodedAdapters
from hydraopt.training import CalibrationData

INT4 = ExportSettings("8da4w", "4w", max_length=32, prefill_length=8)
TEXTS = ["hello there", "good day to you", "a b c d e f g h i", "1 2 3 4 5 6 7 8 9"]
TASK = "later"


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in TEXTS))
    return path


@pytest.fixture(scope="module")
def compressed(adapter_dirs, base, prompts, tmp_path_factory):
    """Two adapters and the base as it was rounded for them."""
    two = AdapterSet(read_adapters(adapter_dirs).adapters[:2])
    directory = tmp_path_factory.mktemp("compressed") / "packs"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(codes, "fit", lambda *_, **__: None)
        given = {"calibration": prompts, "base": str(base), "settings": INT4}
        compress(two, "20%", **given).save(directory)
    return directory


@pytest.fixture
def bundle(compressed, base, exported, tmp_path):
    source = exported("rounded", lambda: CodedAdapters.load(compressed), base, INT4)
    return shutil.copytree(source, tmp_path / "bundle")


def codes_of(bundle, task=TASK) -> CodedAdapters:
    manifest = Manifest.read(bundle)
    return CodedAdapters.of_bundle(bundle, manifest, manifest.swap, [task])


@pytest.mark.slow
def test_without_tuning_the_codes_are_those_without_prompts(
    bundle, compressed, base, prompts, adapter_dirs, monkeypatch
):
    monkeypatch.setattr(codes, "fit", lambda *_, **__: None)
    add_task(bundle, str(adapter_dirs[2]), "plain")
    given = {"calibration": prompts, "base": str(base), "compressed": compressed}
    add_task(bundle, str(adapter_dirs[2]), TASK, **given)
    assert torch.equal(codes_of(bundle).payloads[TASK], codes_of(bundle, "plain").payloads["plain"])


@pytest.mark.slow
def test_the_new_task_answers_more_like_its_adapter_on_the_rounded_base(
    bundle, compressed, base, prompts, adapter_dirs
):
    source = str(adapter_dirs[2])
    add_task(bundle, source, "plain")
    given = {"calibration": prompts, "base": str(base), "compressed": compressed}
    added = add_task(bundle, source, TASK, **given)
    assert added.payloads[TASK].equal(codes_of(bundle).payloads[TASK])

    data = CalibrationData.load(str(base), {TASK: [(text, None) for text in TEXTS]})
    (adapter,) = read_adapters([source]).adapters
    student = kept_student(data.model, CodedAdapters.load(compressed).rounding)
    divergence = divergence_from(data, replace(adapter, name=TASK), student)
    plain, tuned = (divergence(codes_of(bundle, x).task_factors(x)) for x in ("plain", TASK))
    assert tuned < 0.9 * plain


@pytest.mark.slow
def test_another_rounded_base_is_refused(bundle, compressed, base, prompts, adapter_dirs, tmp_path):
    source, before = str(adapter_dirs[2]), (bundle / "manifest.json").read_bytes()
    given = {"calibration": prompts, "base": str(base)}
    two = AdapterSet(read_adapters(adapter_dirs).adapters[:2])
    compress(two, "20%").save(tmp_path / "plain")
    with pytest.raises(UsageError, match="holds no rounded base"):
        add_task(bundle, source, TASK, **given, compressed=tmp_path / "plain")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(codes, "fit", lambda *_, **__: None)
        compress(two, "30%", **given, settings=INT4).save(tmp_path / "other")
    with pytest.raises(UsageError, match="was not exported from"):
        add_task(bundle, source, TASK, **given, compressed=tmp_path / "other")
    assert (bundle / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--base", "{base}"], "no prompts to calibrate the new task with"),
        (["--compressed", "{bundle}"], "no prompts to calibrate the new task with"),
        (["--calibration", "{prompts}"], "pass base (--base)"),
        (["--bf16"], "--bf16 goes with --calibration"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options, named, prompts, base, adapter_dirs, tmp_path
):
    places = {"base": base, "prompts": prompts, "bundle": tmp_path}
    given = [x.format(**places) for x in options]
    message = fails("add", str(tmp_path), str(adapter_dirs[2]), "--task", TASK, *given, code=2)
    assert named in message
