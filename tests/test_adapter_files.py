"""Adapter files as PEFT and trainers really write them: read to PEFT's numbers, or one line."""

import json
import re

import pytest
import torch
from conftest import BASE_ID, delta, save_adapter, tiny_llama
from peft import LoraConfig, PeftModel, PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file

from hydraopt.adapters import read_adapter, write_adapter
from hydraopt.adapters.base_weights import Fingerprint, fingerprint, is_copy
from hydraopt.errors import AdapterError
from hydraopt.reading import file_tensors

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
LAYER = "model.layers.0.self_attn.q_proj"


def renamed(directory, change):
    """The adapter with other tensor names, each as ``change`` gives it."""
    tensors = load_file(directory / WEIGHTS)
    save_file({change(name): x for name, x in tensors.items()}, directory / WEIGHTS)


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for module, factors in wanted.items():
        assert all(map(torch.equal, found[module], factors))


WRAPPED = {
    "torch.compile": lambda key: key.replace(".model.model.", ".model._orig_mod.model."),
    "torch.compile around PEFT": lambda key: f"_orig_mod.{key}",
    "FSDP": lambda key: key.replace(".0.", ".0._fsdp_wrapped_module."),
    "activation checkpointing": lambda key: key.replace(".0.", ".0._checkpoint_wrapped_module."),
    "all three": lambda key: key.replace(
        ".0.", "._orig_mod.0._fsdp_wrapped_module._checkpoint_wrapped_module."
    ),
    "DDP": lambda key: f"module.{key}",
    "DDP inside PEFT": lambda key: key.replace(".model.model.", ".model.module.model."),
    "state_dict()": lambda key: key.replace(".weight", ".default.weight"),
}


@pytest.mark.parametrize("change", WRAPPED.values(), ids=WRAPPED)
def test_names_of_wrappers_are_read_as_without(tmp_path, change):
    settings = {"rank_pattern": {LAYER: 2}, "alpha_pattern": {r".*\.0\.mlp\.up_proj": 3}}
    save_adapter(tmp_path / "a", **settings)
    wanted = dict(read_adapter(tmp_path / "a").factors)
    renamed(tmp_path / "a", change)
    found = read_adapter(tmp_path / "a").factors
    assert_same(found, wanted)
    write_adapter(tmp_path / "b", found, BASE_ID)
    loaded = PeftModel.from_pretrained(tiny_llama(), tmp_path / "b")
    weight = loaded.merge_and_unload().get_submodule(LAYER).weight
    before = tiny_llama().get_submodule(LAYER).weight
    torch.testing.assert_close((weight - before).double(), delta(wanted[LAYER]), atol=2e-3, rtol=0)


def test_a_compiled_model_that_peft_adapts_is_read(tmp_path):
    model = get_peft_model(
        torch.compile(tiny_llama()), LoraConfig(r=2, target_modules=["q_proj"], lora_alpha=6)
    )
    model.peft_config["default"].base_model_name_or_path = BASE_ID
    model.save_pretrained(tmp_path / "a", save_embedding_layers=False)
    assert any("_orig_mod" in key for key in load_file(tmp_path / "a" / WEIGHTS))
    factors = read_adapter(tmp_path / "a").factors[LAYER]
    layer = model.base_model.model._orig_mod.get_submodule(LAYER)
    wanted = layer.get_delta_weight("default").double()
    torch.testing.assert_close(delta(factors), wanted, atol=1e-6, rtol=0)


def test_a_pattern_may_name_a_layer_with_its_wrapper_as_peft_saw_it(tmp_path):
    wrapped = LAYER.replace("model.", "_orig_mod.model.", 1)
    save_adapter(tmp_path / "a")
    wanted = read_adapter(tmp_path / "a").factors[LAYER]
    renamed(tmp_path / "a", WRAPPED["torch.compile"])
    config = json.loads((tmp_path / "a" / CONFIG).read_text())
    config |= {"alpha_pattern": {wrapped: 2 * config["lora_alpha"]}}
    (tmp_path / "a" / CONFIG).write_text(json.dumps(config))
    found = read_adapter(tmp_path / "a").factors[LAYER]
    torch.testing.assert_close(delta(found), 2 * delta(wanted))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_head_as_peft_saves_it_by_default_leaves_a_fingerprint_of_the_base(tmp_path, dtype):
    """PEFT writes lm_head.base_layer.weight beside the factors of an output head."""
    base = tiny_llama().to(dtype)
    model = get_peft_model(
        base, LoraConfig(r=2, target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    )
    model.peft_config["default"].base_model_name_or_path = BASE_ID
    model.save_pretrained(tmp_path / "a")
    assert "base_model.model.lm_head.base_layer.weight" in load_file(tmp_path / "a" / WEIGHTS)
    adapter = read_adapter(tmp_path / "a")
    assert adapter.factors.keys() == {LAYER, "lm_head"}
    (name, found), *others = adapter.base_weights.items()
    assert (name, others) == ("lm_head.weight", [])
    weight = tiny_llama().lm_head.weight
    assert is_copy(weight, found)
    assert not is_copy(weight + 1e-2, found)
    assert not is_copy(weight[1:], found)


def test_a_resized_vocabulary_is_recognised_by_the_shape_of_its_copy(tmp_path):
    """With a resized vocabulary PEFT saves embedding and head in full, without base_layer."""
    model = tiny_llama()
    model.resize_token_embeddings(300)
    model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    model.peft_config["default"].base_model_name_or_path = BASE_ID
    model.save_pretrained(tmp_path / "a", save_embedding_layers=True)
    found = read_adapter(tmp_path / "a").base_weights
    assert {name: x.shape for name, x in found.items()} == {
        "lm_head.weight": (300, 64),
        "model.embed_tokens.weight": (300, 64),
    }


def test_a_fingerprint_does_not_depend_on_how_values_are_cut(monkeypatch):
    weight = torch.randn(13, 7)
    whole = fingerprint(weight)
    monkeypatch.setattr("hydraopt.adapters.base_weights.CHUNK", 10)
    assert fingerprint(weight) == whole == fingerprint(weight.double())
    assert whole != Fingerprint((7, 13), whole.sha256)


def test_prefix_tuning_as_peft_saves_it_is_refused(tmp_path):
    config = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    model = get_peft_model(tiny_llama(), config)
    model.save_pretrained(tmp_path / "a")
    with pytest.raises(AdapterError, match=r"'PREFIX_TUNING', which trains a prompt and changes"):
        read_adapter(tmp_path / "a")


FOREIGN_TENSORS = {
    f"base_model.model.{LAYER}.lora_magnitude_vector.weight": r"of DoRA.*without use_dora",
    "base_model.model.model.embed_tokens.lora_embedding_A": r"LoRA of an embedding",
    f"base_model.model.{LAYER}.lora_B.bias": "a bias on B",
    f"base_model.model.{LAYER}.hada_w1_a": r"LoHa.*save_as_lora",
    f"{LAYER}.lora_a": r"MLX adapter.*PEFT's format",
    "lora_unet_down_blocks_0.lora_down.weight": "image generator",
    "base_model.model.score.modules_to_save.default.weight": "save_pretrained",
    f"base_model.model.{LAYER}.lora_A.other.weight": r"of 2 adapters \(None, other\).*each",
    "base_model.model.lm_head.base_layer.weight": r"quantised layer.*save_embedding_layers=False",
    f"base_model.model._orig_mod.{LAYER}.lora_A.weight": "lora_A twice",
    "base_model.model.model.norm.weight": "unknown tensor",
}


@pytest.mark.parametrize(("key", "says"), FOREIGN_TENSORS.items(), ids=FOREIGN_TENSORS)
def test_a_tensor_of_another_kind_of_adapter_is_refused_by_what_it_is(tmp_path, key, says):
    save_adapter(tmp_path / "a")
    tensors = load_file(tmp_path / "a" / WEIGHTS)
    dtype = torch.uint8 if "base_layer" in key else torch.float32
    save_file(tensors | {key: torch.ones(4, dtype=dtype)}, tmp_path / "a" / WEIGHTS)
    with pytest.raises(AdapterError, match=says) as refused:
        read_adapter(tmp_path / "a")
    assert "\n" not in str(refused.value)


FOREIGN_DIRECTORIES = {
    "config.json": "it is a whole model; pass the directory of an adapter",
    "adapters.safetensors": "an MLX adapter",
    "pytorch_lora_weights.safetensors": "a LoRA of an image generator",
    "checkpoint-7/adapter_config.json": "a directory of adapters; pass one of them, such as .*-7",
}


@pytest.mark.parametrize(("name", "says"), FOREIGN_DIRECTORIES.items(), ids=FOREIGN_DIRECTORIES)
def test_a_directory_without_configuration_is_refused_by_what_it_holds(tmp_path, name, says):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(AdapterError, match=says):
        read_adapter(tmp_path)


def test_an_mlx_configuration_is_named(tmp_path):
    config = {"fine_tune_type": "lora", "lora_parameters": {"rank": 8, "scale": 20.0}}
    (tmp_path / CONFIG).write_text(json.dumps(config))
    with pytest.raises(AdapterError, match="of an MLX adapter"):
        read_adapter(tmp_path)


def test_a_weight_file_as_argument_names_its_directory(tmp_path):
    save_adapter(tmp_path / "a")
    with pytest.raises(AdapterError, match=rf"is a file.*pass {re.escape(str(tmp_path / 'a'))}$"):
        read_adapter(tmp_path / "a" / WEIGHTS)


def test_an_adapter_whose_file_is_cut_later_stays_whole(tmp_path):
    save_adapter(tmp_path / "a")
    path = tmp_path / "a" / WEIGHTS
    wanted = {name: x.clone() for name, x in load_file(path).items()}
    found = file_tensors(path)
    path.write_bytes(b"")  # a mapped page behind the end would end the process
    assert all(torch.equal(found[name], x) for name, x in wanted.items())
