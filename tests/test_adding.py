"""A task that is added with prompts has codes calibrated for the base of its bundle."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from command_line import fails
from rounded_answers import divergence_from

from hydraopt.adapters import read_adapters
from hydraopt.adding import add_task
from hydraopt.calibration import codes
from hydraopt.compression import compress
from hydraopt.errors import UsageError
from hydraopt.formats.manifest import Manifest
from hydraopt.lowering.kept_rounding import kept_student
from hydraopt.lowering.settings import ExportSettings
from hydraopt.packing import CodedAdapters
from hydraopt.training import CalibrationData
from hydraopt.zoo import ADAPTERS, BASE
from hydraopt.zoo.tasks import training_examples

INT4 = ExportSettings("8da4w", "4w", max_length=32, prefill_length=8)
FIRST = tuple(str(ADAPTERS / task) for task in ("words-de", "money-fr"))
SOURCE, TASK = str(ADAPTERS / "words-pl"), "later"
ASKED = training_examples("words-pl", 32)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text, _ in ASKED))
    return path


@pytest.fixture(scope="module")
def compressed(prompts, tmp_path_factory):
    """Two adapters and the base as it was rounded for them."""
    directory = tmp_path_factory.mktemp("compressed") / "packs"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(codes, "fit", lambda *_, **__: None)
        given = {"calibration": prompts, "base": str(BASE), "settings": INT4}
        compress(read_adapters(FIRST), "10%", **given).save(directory)
    return directory


@pytest.fixture
def bundle(compressed, exported, tmp_path):
    source = exported("rounded", lambda: CodedAdapters.load(compressed), BASE, INT4)
    return shutil.copytree(source, tmp_path / "bundle")


def codes_of(bundle, task=TASK) -> CodedAdapters:
    manifest = Manifest.read(bundle)
    return CodedAdapters.of_bundle(bundle, manifest, manifest.swap, [task])


@pytest.mark.slow
def test_without_tuning_the_codes_are_those_without_prompts(
    bundle, compressed, prompts, monkeypatch
):
    monkeypatch.setattr(codes, "fit", lambda *_, **__: None)
    add_task(bundle, SOURCE, "plain")
    given = {"calibration": prompts, "base": str(BASE), "compressed": compressed}
    add_task(bundle, SOURCE, TASK, **given)
    assert torch.equal(codes_of(bundle).payloads[TASK], codes_of(bundle, "plain").payloads["plain"])


@pytest.mark.slow
def test_the_new_task_answers_more_like_its_adapter_on_the_rounded_base(
    bundle, compressed, prompts
):
    add_task(bundle, SOURCE, "plain")
    given = {"calibration": prompts, "base": str(BASE)}
    add_task(bundle, SOURCE, "for-float", **given)
    added = add_task(bundle, SOURCE, TASK, **given, compressed=compressed)
    assert added.payloads[TASK].equal(codes_of(bundle).payloads[TASK])

    data = CalibrationData.load(str(BASE), {TASK: ASKED})
    (adapter,) = read_adapters([SOURCE]).adapters
    student = kept_student(data.model, CodedAdapters.load(compressed).rounding)
    divergence = divergence_from(data, replace(adapter, name=TASK), student)
    plain, for_float, tuned = (
        divergence(codes_of(bundle, x).task_factors(x)) for x in ("plain", "for-float", TASK)
    )
    assert tuned < 0.8 * for_float < plain


@pytest.mark.slow
def test_another_rounded_base_is_refused(bundle, prompts, tmp_path):
    before = (bundle / "manifest.json").read_bytes()
    given = {"calibration": prompts, "base": str(BASE)}
    two = read_adapters(FIRST)
    compress(two, "10%").save(tmp_path / "plain")
    with pytest.raises(UsageError, match="holds no rounded base"):
        add_task(bundle, SOURCE, TASK, **given, compressed=tmp_path / "plain")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(codes, "fit", lambda *_, **__: None)
        compress(two, "20%", **given, settings=INT4).save(tmp_path / "other")
    with pytest.raises(UsageError, match="was not exported from"):
        add_task(bundle, SOURCE, TASK, **given, compressed=tmp_path / "other")
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
def test_options_that_do_not_go_together_are_refused(options, named, prompts, tmp_path):
    places = {"base": BASE, "prompts": prompts, "bundle": tmp_path}
    given = [x.format(**places) for x in options]
    message = fails("add", str(tmp_path), SOURCE, "--task", TASK, *given, code=2)
    assert named in message
