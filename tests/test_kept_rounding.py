"""Packs that are calibrated for a rounded base make up for a part of its error."""

import json
from dataclasses import replace

import pytest
import torch
from command_line import fails
from rounded_answers import divergence_from

from hydraopt.adapters import AdapterSet, read_adapters
from hydraopt.calibration import calibrate, codes
from hydraopt.compression import compress
from hydraopt.errors import BundleError, LoweringError, UsageError
from hydraopt.formats.stored import ROUNDED
from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.kept_rounding import keep_rounding, kept_student, round_student
from hydraopt.lowering.quantization import quantize
from hydraopt.lowering.settings import ExportSettings
from hydraopt.packing import Coder, open_stored
from hydraopt.rounding import running_rounded
from hydraopt.training import CalibrationData
from hydraopt.zoo import BASE, load_adapters
from hydraopt.zoo.tasks import training_examples

INT4 = ExportSettings("8da4w", "4w", max_length=32, prefill_length=8)
ZOO_TASK = "words-pl"
TEXTS = ["hello there", "good day to you", "a b c d e f g h i", "1 2 3 4 5 6 7 8 9"]


@pytest.fixture(scope="module")
def adapters(adapter_dirs):
    return AdapterSet(read_adapters(adapter_dirs).adapters[:2])


@pytest.fixture(scope="module")
def student(adapters, base):
    return round_student(str(base), adapters, INT4, dict.fromkeys(adapters.tasks, TEXTS))


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in TEXTS))
    return path


@pytest.fixture
def compressed(adapters, base, prompts, monkeypatch):
    monkeypatch.setattr(codes, "fit", lambda *_, **__: None)
    return compress(adapters, "20%", calibration=prompts, base=str(base), settings=INT4)


def test_a_float_model_runs_as_the_quantised_one_does(base, student):
    loaded, quantised = (load_base(str(base), str(base)) for _ in range(2))
    ids = torch.arange(12).view(2, 6)
    own = loaded.model(input_ids=ids).logits
    with student.running(loaded.model):
        found = loaded.model(input_ids=ids).logits
    kept = keep_rounding(quantised.model, INT4, student.rounding)
    quantize(quantised.model, INT4, kept)
    with torch.no_grad():
        wanted = torch.cat([quantised.model(input_ids=row[None]).logits for row in ids])
    near, far = ((x - wanted).norm() / wanted.norm() for x in (found, own))
    assert near < 0.02 < far  # int8 sums in another order move some values to the next level
    assert loaded.model(input_ids=ids).logits.equal(own)


def test_gradients_pass_rounding(student, base):
    model = load_base(str(base), str(base)).model.requires_grad_(False)
    layer = model.get_submodule(next(iter(student.rounding.weights)))
    x = torch.randn(3, layer.in_features, requires_grad=True)
    with running_rounded(model, student.rounding.weights):
        layer(x).sum().backward()
        assert torch.allclose(x.grad, layer.weight.sum(0).expand_as(x))


@pytest.mark.slow
def test_packs_for_a_rounded_base_are_nearer_on_their_prompts(monkeypatch):
    monkeypatch.setattr(codes, "FIRST", codes.FIRST // 2)
    monkeypatch.setattr(codes, "STEPS", codes.STEPS // 2)
    asked = {ZOO_TASK: training_examples(ZOO_TASK, 32)}
    one = AdapterSet(x for x in load_adapters().adapters if x.name == ZOO_TASK)
    student = round_student(str(BASE), one, INT4, {ZOO_TASK: [x for x, _ in asked[ZOO_TASK]]})
    coded = Coder.from_adapters(one).code(one.fp16_bytes // 10)
    data = CalibrationData.load(str(BASE), asked)
    packs = [calibrate(coded, one, data, *given) for given in ((), (student.running,))]
    assert packs[0].stored_bytes == packs[1].stored_bytes
    divergence = divergence_from(data, one.adapters[0], student)
    for_float, for_rounded = (divergence(x.task_factors(ZOO_TASK)) for x in packs)
    assert for_rounded < 0.8 * for_float


def test_integers_are_kept_with_the_packs(compressed, tmp_path):
    compressed.save(tmp_path / "packs")
    found = open_stored(tmp_path / "packs").rounding
    assert found.describe() == compressed.rounding.describe()
    for name, weight in compressed.rounding.weights.items():
        assert all(map(torch.equal, weight[:2], found.weights[name][:2]))
    (tmp_path / "packs" / ROUNDED).write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"base\.safetensors"):
        open_stored(tmp_path / "packs")


@pytest.mark.slow
def test_an_export_takes_the_integers_as_they_are(compressed, base, tmp_path):
    exported = export_bundle(compressed, str(base), tmp_path / "bundle", INT4)
    assert exported.manifest.calibration == compressed.rounding.calibration
    assert exported.program_error < INT4.scheme.limit


@pytest.mark.parametrize(
    ("settings", "calibration", "named"),
    [
        (replace(INT4, quantize="8da8w"), None, "8da8w with an embedding in 4w"),
        (replace(INT4, embedding="8w"), None, "8da4w with an embedding in 8w"),
        (replace(INT4, overrides={"lm_head": "8da8w"}), None, "lm_head=8da8w"),
        (INT4, "generated", "rounded already"),
        (INT4, "none", "rounded already"),
        (replace(INT4, base_size="90%"), None, "rounded already"),
    ],
)
def test_another_rounding_is_refused(settings, calibration, named, compressed, base, tmp_path):
    with pytest.raises(UsageError, match=named):
        export_bundle(compressed, str(base), tmp_path / "x", settings, calibration=calibration)
    assert not any(tmp_path.iterdir())


def test_another_base_is_refused(student, base):
    loaded = load_base(str(base), str(base))
    last = loaded.model.get_submodule([*student.rounding.weights][-1])
    with torch.no_grad():
        last.weight.copy_(torch.randn_like(last.weight))
    with pytest.raises(LoweringError, match="integers of another base"):
        kept_student(loaded.model, student.rounding)
    with pytest.raises(LoweringError, match="integers of another base"):
        keep_rounding(loaded.model, INT4, student.rounding)


def test_what_quantises_nothing_is_refused(adapters, base, prompts):
    with pytest.raises(UsageError, match="none is none"):
        compress(
            adapters,
            "20%",
            calibration=prompts,
            base=str(base),
            settings=ExportSettings("none"),
        )
    with pytest.raises(UsageError, match="no prompts"):
        compress(adapters, "20%", settings=INT4)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--quantize", "8da4w"], "pass --calibration"),
        (["--embedding", "4w"], "--embedding goes with --quantize"),
        (["--override", "lm_head=8da8w"], "--override goes with --quantize"),
    ],
)
def test_options_that_do_nothing_are_refused(options, named, adapter_dirs, tmp_path):
    output = ["-o", str(tmp_path / "x")]
    assert named in fails("compress", *map(str, adapter_dirs), *output, *options, code=2)
