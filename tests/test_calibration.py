"""Calibration brings the model's answers nearer to the unmerged adapters', in the same bytes."""

import json
from dataclasses import replace
from itertools import chain

import pytest
import torch
from torch.nn.functional import kl_div
from transformers import LlamaConfig, LlamaForCausalLM

from hydraopt.adapters import AdapterSet, read_adapters
from hydraopt.calibration import calibrate, codes, read_prompts
from hydraopt.errors import DataError
from hydraopt.evaluation import adapted
from hydraopt.packing import Coder
from hydraopt.training import CalibrationData, continuations
from hydraopt.zoo import BASE, load_adapters
from hydraopt.zoo.model import new_tokenizer
from hydraopt.zoo.tasks import training_examples

TASKS = ("alpha", "beta", "gamma")
SMALL = {"vocab_size": 16, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}


def divergence(data, adapter, merged) -> float:
    """From the unmerged adapter's distributions along its own continuations of ``data``."""
    with adapted(data.model, adapter.factors):
        rows = continuations(data.model, [row for row, _ in data.prompts([adapter.name])])
    found = []
    for factors in (merged.task_factors(adapter.name), adapter.factors):
        with adapted(data.model, factors), torch.no_grad():
            found.append(codes._predictions(data.model, rows))
    return float(kl_div(*found, log_target=True, reduction="batchmean"))


def data_of(base, *prompts, bfloat16=False) -> CalibrationData:
    examples = {task: [(x, None) for x in prompts] for task in TASKS}
    return CalibrationData.load(str(base), examples, bfloat16=bfloat16)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """A quarter of them is enough to learn what these tests ask for."""
    monkeypatch.setattr(codes, "FIRST", codes.FIRST // 4)
    monkeypatch.setattr(codes, "STEPS", codes.STEPS // 4)


@pytest.fixture(scope="module")
def adapters(adapter_dirs):
    return read_adapters(adapter_dirs)


@pytest.fixture(scope="module")
def coded(adapters):
    return Coder.from_adapters(adapters).code(adapters.fp16_bytes // 5)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_calibrated_packs_answer_more_like_the_unmerged_adapter(adapters, coded, base, bfloat16):
    data = data_of(base, "hello", "good day", "a b c", bfloat16=bfloat16)
    model = data.model
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    assert all(model.get_submodule(name).weight.dtype == dtype for name in adapters.shapes)
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    adapter = adapters.adapters[0]
    one = replace(coded, payloads={adapter.name: coded.payloads[adapter.name]})
    tuned = calibrate(one, AdapterSet([adapter]), data)
    assert all(weights[name].equal(p) for name, p in model.named_parameters())
    assert tuned.stored_bytes == one.stored_bytes
    assert torch.equal(tuned.shared, one.shared)
    assert divergence(data, adapter, tuned) < divergence(data, adapter, one)


@pytest.mark.slow
def test_what_is_learnt_from_some_prompts_holds_for_others():
    adapters = AdapterSet(x for x in load_adapters().adapters if x.name.startswith("words-"))
    coded = Coder.from_adapters(adapters).code(adapters.fp16_bytes // 20)
    task = AdapterSet([adapters.adapters[0]])
    (name,) = task.tasks
    coded = replace(coded, payloads={name: coded.payloads[name]})
    pairs = training_examples(name, 96)
    asked, others = ({name: part} for part in (pairs[:64], pairs[64:]))
    tuned = calibrate(coded, task, CalibrationData.load(str(BASE), asked))
    data = CalibrationData.load(str(BASE), others)
    before, after = (divergence(data, task.adapters[0], x) for x in (coded, tuned))
    assert after < before / 2


def test_without_tuning_the_codes_are_those_of_the_budget(adapters, coded, base, monkeypatch):
    """Rounding layer by layer changes nothing by itself."""
    monkeypatch.setattr(codes, "fit", lambda *_, **__: None)
    found = calibrate(coded, adapters, data_of(base, "hello"))
    for task in TASKS:
        assert torch.equal(found.payloads[task], coded.payloads[task])


def test_layers_are_rounded_in_the_models_order():
    model = LlamaForCausalLM(LlamaConfig(**SMALL, num_hidden_layers=11))
    first = ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"]
    second, eleventh = (f"model.layers.{layer}.mlp.up_proj" for layer in (2, 10))
    asked = ["lm_head", eleventh, second, *reversed(first)]
    assert codes._layers(model, asked) == [first, [second], [eleventh], ["lm_head"]]


@pytest.mark.parametrize(("layers", "sizes"), [(2, [1, 1]), (6, [1] * 6), (8, [1, 1, 2, 1, 1, 2])])
def test_layers_are_rounded_in_at_most_six_stages(layers, sizes):
    model = LlamaForCausalLM(LlamaConfig(**SMALL, num_hidden_layers=layers))
    names = [f"model.layers.{layer}.mlp.up_proj" for layer in range(layers)]
    stages = codes._stages(model, reversed(names))
    assert [*map(len, stages)] == sizes
    assert [*chain(*stages)] == names


def test_a_base_without_the_adapters_modules_is_refused(adapters, coded):
    model = LlamaForCausalLM(LlamaConfig(**SMALL, num_hidden_layers=1))
    data = CalibrationData(model, new_tokenizer(), {task: [("hello", None)] for task in TASKS})
    with pytest.raises(DataError, match=r"is \(8, 8\) \(out, in\), expected \(64, 96\)"):
        calibrate(coded, adapters, data)


def test_prompts_are_for_one_task_or_for_all(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "b", "task": "beta"}\n')
    assert read_prompts(path, TASKS) == {
        "alpha": [("a", None)],
        "beta": [("a", None), ("b", None)],
        "gamma": [("a", None)],
    }


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"answer": "a"}], "line 1 has no text 'prompt'"),
        ([{"prompt": "a", "task": "x"}], "line 1: no task is named 'x'"),
        ([{"prompt": "a", "task": "beta"}], "no prompt for task 'alpha'"),
        ([], "is empty"),
    ],
)
def test_a_calibration_file_of_the_wrong_form_is_refused(tmp_path, lines, message):
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match=message):
        read_prompts(path, TASKS)
