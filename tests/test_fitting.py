"""Adapters on a loaded base: other names of its layers, what never runs."""

import json
import logging
from dataclasses import replace

import pytest
import torch
from conftest import BASE_ID, FLOAT32, delta, save_adapter, tiny_llama
from encoders import ENCODER_ID, save_base, save_lora, tiny_bert
from llama_data import TEXT, data_of, llama_set, logits_of
from multimodal import old_name, tiny_gemma
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaModel
from transformers.models.qwen3_5 import Qwen3_5Config

from hydraopt.adapters import AdapterSet, read_adapter, read_adapters
from hydraopt.bundles import add_task
from hydraopt.compression import compress
from hydraopt.errors import LoweringError
from hydraopt.evaluation import adapted
from hydraopt.fitting import layer_names, next_logits, places
from hydraopt.formats.manifest import Manifest
from hydraopt.lowering.against_base import verify_against
from hydraopt.lowering.bundle import export_bundle
from hydraopt.merging import merge_with
from hydraopt.merging.hydraopt import average
from hydraopt.merging.private import private
from hydraopt.packing import Coder, code_verbatim
from hydraopt.runtime import Session
from hydraopt.zoo.model import new_tokenizer

WEIGHTS = "adapter_model.safetensors"
Q = "self_attn.q_proj"


@pytest.fixture
def warned():
    """Warnings while a test runs, line by line."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("hydraopt")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def rename(directory, change):
    tensors = load_file(directory / WEIGHTS)
    save_file({change(name): x for name, x in tensors.items()}, directory / WEIGHTS)


def hidden(model):
    return model(input_ids=torch.tensor([TEXT])).last_hidden_state


def without_prefix(adapters):
    """Adapters as they are trained on a model without head."""
    names = {name: name.removeprefix("model.") for name in adapters.shapes}
    return AdapterSet(replace(x, task_type=None) for x in adapters.placed(names).adapters)


def test_old_names_of_a_vision_language_model_mean_what_peft_takes_them_for(tmp_path):
    model = save_adapter(tmp_path / "a", base_model=tiny_gemma(), target_modules=["q_proj"])
    wanted = logits_of(model)
    rename(tmp_path / "a", old_name)
    assert torch.equal(logits_of(PeftModel.from_pretrained(tiny_gemma(), tmp_path / "a")), wanted)
    base, factors = tiny_gemma(), read_adapter(tmp_path / "a").factors
    assert f"language_model.model.layers.1.{Q}" in factors
    with adapted(base, factors):
        torch.testing.assert_close(logits_of(base), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("model", "module", "name"),
    [
        (tiny_llama, f"layers.0.{Q}", f"model.layers.0.{Q}"),
        (tiny_llama, f"model.layers.0.{Q}", f"model.layers.0.{Q}"),
        (tiny_llama, "lm_head.surgery", "lm_head.surgery"),
        (lambda: LlamaModel(tiny_llama().config), f"model.layers.0.{Q}", f"layers.0.{Q}"),
        (tiny_bert, "bert.encoder.layer.0.output.dense", "encoder.layer.0.output.dense"),
        (tiny_gemma, f"language_model.model.layers.1.{Q}", f"model.language_model.layers.1.{Q}"),
        (tiny_gemma, "language_model.lm_head", "lm_head"),
        (tiny_gemma, "nothing.like.it", "nothing.like.it"),
    ],
)
def test_a_layer_has_the_name_that_transformers_gives_it_when_it_loads_a_checkpoint(
    model, module, name
):
    assert layer_names(model(), [module]) == {module: name}


def test_an_adapter_of_a_headless_model_is_applied_as_peft_applies_it(tmp_path):
    headless = LlamaModel(tiny_llama().config).eval()
    headless.load_state_dict(tiny_llama().model.state_dict())
    model = save_lora(tmp_path / "a", headless, BASE_ID, 1, target_modules=["q_proj", "up_proj"])
    base = tiny_llama()
    with torch.no_grad(), adapted(base, read_adapter(tmp_path / "a").factors):
        found = base.model(input_ids=torch.tensor([TEXT])).last_hidden_state
        wanted = model(input_ids=torch.tensor([TEXT])).last_hidden_state
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_what_the_program_never_runs_is_left_out_with_one_warning(warned):
    modules = [f"encoder.layer.0.attention.{x}" for x in ("self.query", "output.dense")]
    shapes = dict.fromkeys([*modules, "pooler.dense"], (64, 64))
    found = places(tiny_bert(), shapes, hidden, LoweringError)
    assert found == {**{name: name for name in modules}, "pooler.dense": None}
    (line,) = warned
    assert line.startswith("left out 1 of 3 layers") and line.endswith("(first: pooler.dense)")


def test_a_part_of_the_checkpoint_that_the_text_model_does_without_is_left_out():
    text = {
        "vocab_size": 96,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "layer_types": ["full_attention"],
    }
    model = AutoModelForCausalLM.from_config(Qwen3_5Config(text_config=text))
    modules = [f"model.language_model.layers.0.{Q}", "model.visual.blocks.0.attn.qkv"]
    shapes = dict.fromkeys(modules, (64, 32))
    found = places(model, shapes, next_logits, LoweringError)
    assert found == dict(zip(modules, (f"model.layers.0.{Q}", None), strict=True))


def test_adapters_that_run_as_they_are_cause_no_warning(warned):
    shapes = {**llama_set().shapes, "lm_head": (258, 64)}
    found = places(tiny_llama(), shapes, next_logits, LoweringError)
    assert found == {name: name for name in shapes}
    assert not warned


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        (["pooler.dense"], r"runs none of the 1 layers .*\(first: pooler.dense\)"),
        (
            ["encoder.layer.0.output.dense", "bert.encoder.layer.0.output.dense"],
            r"change encoder.layer.0.output.dense under 2 names, .* one version of transformers",
        ),
    ],
)
def test_adapters_without_a_layer_or_with_two_names_of_one_are_refused(modules, says):
    with pytest.raises(LoweringError, match=says):
        places(tiny_bert(), dict.fromkeys(modules, (64, 96)), hidden, LoweringError)


@pytest.mark.parametrize("make", [code_verbatim, lambda x: x], ids=["coded", "merged"])
def test_placed_adapters_have_the_same_factors_under_other_names(make):
    before = make(average(llama_set()))
    first, second, *others = before.modules
    after = before.placed({first: "other", second: None})
    assert set(after.modules) == {"other", *others}
    factors = before.task_factors("task1")
    for name, found in after.task_factors("task1").items():
        assert all(map(torch.equal, found, factors[first if name == "other" else name]))
    assert before.placed({}).task_factors("task1").keys() == factors.keys()


def test_codes_of_a_budget_keep_what_is_not_left_out():
    adapters = llama_set()
    before = Coder.from_adapters(adapters).code(adapters.fp16_bytes // 3)
    first, *others = before.modules
    after = before.placed({first: None})
    assert after.stored_bytes < before.stored_bytes
    assert after.errors["task0"].keys() == {*others}
    wanted = before.task_factors("task3")
    for name, found in after.task_factors("task3").items():
        assert all(map(torch.equal, found, wanted[name]))


def test_a_budget_with_the_base_at_hand_has_no_bytes_for_what_never_runs(tmp_path):
    save_base(tiny_bert(), tmp_path / "base")
    targets = ["query", "pooler.dense"]
    save_lora(tmp_path / "a", tiny_bert(), ENCODER_ID, 1, target_modules=targets)
    adapters = read_adapters([tmp_path / "a"])
    with_pooler = compress(adapters, "50%")
    coded = compress(adapters, "50%", base=str(tmp_path / "base"))
    assert {*with_pooler.modules} - {*coded.modules} == {"pooler.dense"}
    runs = adapters.placed({"pooler.dense": None})
    assert coded.adapter_bytes == runs.fp16_bytes
    assert coded.stored_bytes <= runs.fp16_bytes // 2


def test_calibration_takes_adapters_of_a_headless_model_and_gives_them_back(
    tmp_path, base, monkeypatch
):
    monkeypatch.setattr("hydraopt.calibration.codes.FIRST", 1)
    monkeypatch.setattr("hydraopt.calibration.codes.STEPS", 1)
    adapters = llama_set(tasks=2)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    coded, other = (
        compress(x, "40%", calibration=prompts, base=str(base))
        for x in (adapters, without_prefix(adapters))
    )
    assert {f"model.{name}" for name in other.modules} == {*coded.modules}
    for name, found in other.task_factors("task0").items():
        assert all(map(torch.equal, found, coded.task_factors("task0")[f"model.{name}"]))
    other.to_peft("task0", tmp_path / "a")
    headless = LlamaModel(tiny_llama().config)
    layer = PeftModel.from_pretrained(headless, tmp_path / "a").get_submodule(
        f"base_model.model.layers.0.{Q}"
    )
    wanted = delta(other.task_factors("task0")[f"layers.0.{Q}"])
    torch.testing.assert_close(
        layer.get_delta_weight("default").double(), wanted, atol=2e-3, rtol=0
    )


def test_a_method_with_data_takes_adapters_of_a_headless_model_and_gives_them_back():
    adapters = llama_set(tasks=2)
    found = merge_with("adamerging", without_prefix(adapters), data_of(adapters), steps=2)
    wanted = merge_with("adamerging", adapters, data_of(adapters), steps=2)
    for name in found.modules:
        assert torch.equal(
            found.factors("task0", name).b, wanted.factors("task0", f"model.{name}").b
        )


@pytest.mark.slow
def test_the_text_part_of_a_vision_language_model_gives_the_logits_of_peft(tmp_path):
    tiny_gemma().save_pretrained(tmp_path / "base")
    new_tokenizer().save_pretrained(tmp_path / "base")
    models = {}
    for seed, task in enumerate(("one", "two", "three")):
        models[task] = save_adapter(
            tmp_path / task, seed, base_model=tiny_gemma(), target_modules=["q_proj"]
        )
        rename(tmp_path / task, old_name)
    merged = private(read_adapters([tmp_path / "one", tmp_path / "two"]))
    export_bundle(merged, str(tmp_path / "base"), tmp_path / "b", FLOAT32)
    layers = Manifest.read(tmp_path / "b").layers
    assert sum(name is None for name in layers.values()) == 1
    written = json.loads((tmp_path / "b" / "layout.json").read_text())["modules"]
    assert len(written) == 2 and all(".language_model.layers." in name for name in written)
    add_task(tmp_path / "b", str(tmp_path / "three"), "three")
    found = verify_against(tmp_path / "b", str(tmp_path / "base"), [str(tmp_path / "three")])
    assert found.adapter_errors["three"] < 5e-3
    session = Session.open(tmp_path / "b")
    for task, model in models.items():
        session.switch(task)
        torch.testing.assert_close(session.forward(TEXT), logits_of(model)[-1], atol=2e-3, rtol=0)
