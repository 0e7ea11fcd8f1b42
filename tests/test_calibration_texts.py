"""Texts that a base is rounded for, and bundles of bases that were."""

import json

import pytest
import torch
from command_line import fails, succeeds
from conftest import BASE_ID

from hydraopt.adapters import FEATURES, read_adapters
from hydraopt.errors import LoweringError, UsageError
from hydraopt.formats.manifest import Manifest
from hydraopt.lowering.against_base import verify_against
from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.calibration_texts import (
    ANSWER,
    GENERATED,
    NO_TEXTS,
    OWN,
    adapters_by_text,
    calibration_texts,
)
from hydraopt.lowering.check import beside_layers
from hydraopt.lowering.factors import input_factors
from hydraopt.lowering.quantization import layer_schemes, quantize, round_base
from hydraopt.lowering.settings import ExportSettings
from hydraopt.lowering.slots import insert_slots
from hydraopt.packing import CodedAdapters, shared_rows
from hydraopt.recipes import find_family
from hydraopt.recipes.tiny import tiny_family
from hydraopt.runtime import Session

PROMPTS = {
    task: [f"prompt {number} of the task {task}" for number in range(8)]
    for task in ("alpha", "beta", "gamma")
}


@pytest.fixture(scope="module")
def adapters(adapter_dirs):
    return {x.name: x.factors for x in read_adapters(adapter_dirs).adapters}


@pytest.fixture
def loaded(base):
    return load_base(str(base), BASE_ID)


def test_prompts_keep_their_tokens_and_are_continued(loaded, adapters):
    found = calibration_texts(loaded, PROMPTS, [*PROMPTS], adapters.__getitem__)
    assert found.source == "prompts" and {*found.adapters} == {*PROMPTS}
    given = [loaded.tokenizer(x).input_ids for texts in PROMPTS.values() for x in texts]
    context = loaded.model.config.max_position_embeddings
    most = context - ANSWER
    for ids, kept, prompt in zip(found.tokens.ids, found.tokens.kept, given, strict=True):
        text = ids[kept].tolist()
        assert text[: min(most, len(prompt))] == prompt[-most:]
        assert len(text) <= context and 257 not in text  # no end of text


def test_texts_of_its_own_differ_by_task_and_not_by_run(loaded, adapters):
    def made():
        return calibration_texts(loaded, GENERATED, [*PROMPTS], adapters.__getitem__)

    found, again = made(), made()
    assert found.source == "generated"
    assert torch.equal(found.tokens.ids, again.tokens.ids)
    by_task = {task: [] for task in PROMPTS}
    for row, task in zip(found.tokens.ids.tolist(), found.tasks, strict=True):
        by_task[task].append(row)
    assert len({str(rows) for rows in by_task.values()}) == 3
    assert found.tokens.ids.shape[1] <= OWN + 1


def test_every_task_has_the_same_weight(loaded, adapters):
    prompts = {"alpha": PROMPTS["alpha"], "beta": PROMPTS["beta"][:2]}
    tokens = calibration_texts(loaded, prompts, [*prompts], adapters.__getitem__).tokens
    sums = (tokens.kept.sum(1) * tokens.weights).split([8, 2])
    assert [x.sum().item() for x in sums] == pytest.approx([1, 1])


def test_each_text_has_its_tasks_adapter(loaded, adapters):
    """A batch of several tasks gives what PEFT's way gives task by task."""
    ids = torch.arange(4 * 9).view(4, 9)
    tasks = ["alpha", "gamma", "gamma", "beta"]
    with torch.no_grad():
        with adapters_by_text(loaded.model, adapters, tasks):
            together = loaded.model(ids).logits
        for row, task in enumerate(tasks):
            with beside_layers(loaded.model, adapters[task]):
                alone = loaded.model(ids[row : row + 1]).logits[0]
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=0)


def errors_of(loaded, adapters, calibration) -> float:
    """Mean squared error of the logits of texts that were not calibrated with."""
    torch.manual_seed(5)
    ids = torch.randint(0, 256, (32, 24))
    tasks = sorted(adapters) * 8 + sorted(adapters)[:1] * 8
    tasks.sort()
    with torch.no_grad(), adapters_by_text(loaded.model, adapters, tasks):
        wanted = loaded.model(ids).logits
        settings = loaded.kind.resolve(ExportSettings(embedding="none"), loaded.model)
        texts = calibration_texts(loaded, calibration, [*adapters], adapters.__getitem__)
    round_base(loaded.model, settings, texts)
    with torch.no_grad(), adapters_by_text(loaded.model, adapters, tasks):
        return float((loaded.model(ids).logits - wanted).square().mean())


@pytest.mark.parametrize("calibration", [GENERATED, PROMPTS], ids=["generated", "prompts"])
def test_rounding_for_texts_is_better_on_others(base, adapters, calibration):
    without = errors_of(load_base(str(base), BASE_ID), adapters, NO_TEXTS)
    assert errors_of(load_base(str(base), BASE_ID), adapters, calibration) < without


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ({"alpha": ["the same prompt, again and again, for all"] * 9}, "are all alike, expected"),
        (
            {"alpha": PROMPTS["alpha"], "beta": ["", ""]},
            "have no tokens for task 'beta'; pass some",
        ),
        ({"alpha": ["Hi", "Ho"]}, "have 4 tokens, expected different ones of at least 64"),
    ],
)
def test_prompts_that_say_too_little_are_refused(loaded, adapters, calibration, message):
    with pytest.raises(LoweringError, match=message) as error:
        calibration_texts(loaded, calibration, ["alpha"], adapters.__getitem__)
    assert error.value.options == ("calibration",)


@pytest.mark.parametrize(
    ("calibration", "settings", "error", "message"),
    [
        ("some", ExportSettings(), UsageError, "unknown calibration 'some', expected prompts"),
        (GENERATED, ExportSettings("none"), UsageError, "this export quantises no layer; leave"),
    ],
)
def test_calibrations_that_mean_nothing_are_refused(
    merged, base, tmp_path, calibration, settings, error, message
):
    with pytest.raises(error, match=message):
        export_bundle(merged, str(base), tmp_path / "out", settings, calibration=calibration)
    assert not (tmp_path / "out").exists()


def test_an_encoder_writes_no_texts(tmp_path):
    with tiny_family(find_family("minilm")) as (encoder, _):
        loaded = load_base(str(encoder), "minilm", FEATURES)
    with pytest.raises(LoweringError, match="of kind encoder and generates no texts"):
        calibration_texts(loaded, GENERATED, ["first"], lambda _: {})
    texts = calibration_texts(loaded, PROMPTS, [*PROMPTS], lambda _: {})
    settings = loaded.kind.resolve(ExportSettings(), loaded.model)
    assert round_base(loaded.model, settings, texts).calibration.tokens == texts.tokens.tokens


def test_inputs_that_are_not_finite_are_refused(loaded, adapters):
    texts = calibration_texts(loaded, PROMPTS, [*PROMPTS], adapters.__getitem__)
    loaded.model.model.layers[0].self_attn.q_proj.weight.data[0, 0] = torch.nan
    settings = loaded.kind.resolve(ExportSettings(), loaded.model)
    with pytest.raises(LoweringError, match="inputs that are not finite on the texts"):
        round_base(loaded.model, settings, texts)


def test_a_tokenizer_of_another_model_is_refused(loaded, adapters):
    loaded.tokenizer.add_tokens(["alpha"])
    with pytest.raises(LoweringError, match="a prompt has token 258, but the base has 258"):
        calibration_texts(loaded, PROMPTS, [*PROMPTS], adapters.__getitem__)


def test_schemes_by_layer(loaded):
    settings = ExportSettings(overrides={"*.mlp.*": "8da8w", "*.up_proj": "none"})
    schemes = {n: scheme.name for n, (_, scheme) in layer_schemes(loaded.model, settings).items()}
    prefix = "model.layers.0"
    assert schemes[f"{prefix}.mlp.gate_proj"] == "8da8w"
    assert schemes[f"{prefix}.mlp.up_proj"] == "none"
    assert schemes[f"{prefix}.self_attn.q_proj"] == schemes["lm_head"] == "8da4w"


def test_an_override_that_names_no_layer_is_refused(loaded):
    with pytest.raises(LoweringError, match="no linear layer of the base is named 'head'") as error:
        layer_schemes(loaded.model, ExportSettings(overrides={"head": "8da8w"}))
    assert error.value.options == ("override",)


@pytest.fixture(scope="module")
def prompt_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    lines = ({"task": task, "prompt": x} for task, found in PROMPTS.items() for x in found)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.mark.slow
def test_a_calibrated_program_has_exactly_the_rounded_weights(
    adapter_dirs, base, prompt_file, tmp_path
):
    compressed, bundle = tmp_path / "compressed", tmp_path / "bundle"
    succeeds("compress", *adapter_dirs, "-o", compressed, "--budget", "50%")
    options = ("--calibration", prompt_file, "--override", "lm_head=8da8w", "--json")
    succeeds("export", compressed, "--base", base, "-o", bundle, *options)
    manifest = Manifest.read(bundle)
    assert manifest.overrides == {"lm_head": "8da8w"}
    assert manifest.calibration.texts == "prompts" and manifest.calibration.tokens > 64

    coded = CodedAdapters.load(compressed)
    loaded = load_base(str(base), BASE_ID)
    settings = ExportSettings.of(manifest)
    texts = calibration_texts(loaded, PROMPTS, coded.tasks, coded.task_factors)
    rounded = round_base(loaded.model, settings, texts)
    inputs = insert_slots(loaded.model, coded.layout.shapes)
    quantize(loaded.model, settings, rounded, shared_rows(coded.layout, coded.shared))
    inputs.update(input_factors(coded, "beta", static_rows=True))
    session = Session.open(bundle)
    session.switch("beta")
    ids = [1, 2, 3, 4]
    with torch.no_grad():
        wanted = loaded.model(torch.tensor([ids])).logits[0, -1]
    assert (session.forward(ids) - wanted).norm() < 0.02 * wanted.norm()

    found = verify_against(bundle, str(base))
    assert found.deviation < 1e-5 < found.program_error < 0.5


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--calibration", "missing.jsonl"), 1, "missing.jsonl"),
        (("--override", "lm_head"), 2, "--override 'lm_head': expected NAME=VALUE, for example "),
        (("--override", "lm_head=3w"), 2, "'lm_head=3w': expected a scheme of 8da4w, 8da8w, none"),
        (("--override", "head=8da8w"), 1, "no linear layer of the base is named 'head'"),
    ],
)
def test_wrong_options_are_one_line(merged, base, tmp_path, options, code, message):
    merged.save(tmp_path / "merged")
    arguments = ("export", tmp_path / "merged", "--base", base, "-o", tmp_path / "out", *options)
    error = fails(*arguments, code=code)
    assert message in error
    assert not (tmp_path / "out").exists()
