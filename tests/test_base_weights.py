"""Weights of a base: missing, left over, quantised and of experts, refused by their cause."""

import pytest
import torch
from command_line import fails
from conftest import tiny_llama
from encoders import save_base, tiny_bert, tiny_vit
from families import tiny
from peft import LoraConfig, get_peft_model
from saved_bases import IDS, assert_computes, configured, refused, refused_to_export, saved

PROJECTION = "model.layers.0.mlp.up_proj.weight"


def test_a_base_that_lacks_a_projection_is_refused(tmp_path):
    saved(tmp_path / "base", tiny_llama(), lambda t: t.pop(PROJECTION) is None)
    assert refused(tmp_path / "base").startswith(
        f"base model BASE lacks 1 weights of a LlamaForCausalLM (first: {PROJECTION}), expected"
    )


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model.model."])
def test_names_under_a_prefix_are_refused(tmp_path, prefix):
    saved(tmp_path / "base", tiny_llama(), lambda t: {f"{prefix}{k}": v for k, v in t.items()})
    said = refused(tmp_path / "base")
    assert "(first: lm_head.weight), expected none; it has" in said
    assert f"it has {prefix}lm_head.weight: save the model itself, not what wraps it" in said


def test_a_base_saved_with_its_adapter_inside_is_refused_with_the_nearest_name(tmp_path):
    model = get_peft_model(tiny_llama(), LoraConfig(target_modules=["up_proj"]))
    tensors = {name: x.clone() for name, x in model.base_model.model.state_dict().items()}
    saved(tmp_path / "base", tiny_llama(), lambda _: tensors)
    said = refused(tmp_path / "base")
    assert "(first: model.layers.0.mlp.up_proj.weight), expected none; the nearest is" in said
    assert "the nearest is model.layers.0.mlp.up_proj." in said


def test_a_base_without_its_head_is_refused(tmp_path):
    model = tiny_llama().model
    model.config.architectures = ["LlamaForCausalLM"]
    saved(tmp_path / "base", model, lambda _: None)
    config = tmp_path / "base" / "config.json"
    config.write_text(config.read_text().replace('"LlamaModel"', '"LlamaForCausalLM"'))
    assert "lacks 1 weights of a LlamaForCausalLM (first: lm_head.w" in refused(tmp_path / "base")


def test_weights_of_another_shape_are_refused(tmp_path):
    saved(tmp_path / "base", tiny_llama(), lambda t: t.update({"model.norm.weight": IDS[0].half()}))
    assert "has model.norm.weight of shape [5], expected [64] in a" in refused(tmp_path / "base")


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.q_proj.bias",  # of a layer
        "model.layers.0.self_attn.q_norm.weight",  # a layer more
        "model.layers.1.mlp.up_proj.weight",  # more layers
        "model.embed_positions.weight",  # another kind of position
        "lm_head.bias",
    ],
)
def test_weights_that_would_be_left_out_are_refused(tmp_path, name):
    saved(tmp_path / "base", tiny_llama(), lambda t: t.update({name: torch.ones(64)}))
    said = refused(tmp_path / "base")
    assert "has 1 weights for which a LlamaForCausalLM of its configuration has no place" in said
    assert f"(first: {name}), expected none; pass the model as it was saved" in said


@pytest.mark.parametrize(
    ("make", "stored", "name"),
    [
        (tiny_bert, "encoder.layer.1.attention.self.query", "encoder.layer.1.attention.self.query"),
        (tiny_vit, "encoder.layer.1.attention.attention.query", "layers.1.attention.q_proj"),
    ],
)
def test_encoders_and_image_models_are_whole_too(tmp_path, make, stored, name):
    saved(tmp_path / "less", make(), lambda t: t.pop(f"{stored}.weight") is None)
    assert f"(first: {name}.weight)" in refused_to_export(tmp_path / "less")
    saved(tmp_path / "more", make(), lambda t: t.update({f"{stored}.scale": torch.ones(3)}))
    assert f"has no place (first: {name}.scale)" in refused_to_export(tmp_path / "more")


# forms of weights and layers that no program is made of


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes, 4 bits"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes, 8 bits"),
        ({"quant_method": "gptq", "bits": 4}, "gptq, 4 bits"),
        ({"quant_method": "awq", "bits": 4}, "awq, 4 bits"),
        ({"quant_method": "hqq", "quant_config": {}}, "hqq"),
        ({"quant_method": "compressed-tensors", "config_groups": {}}, "compressed-tensors"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"group_size": 64, "bits": 4}, "unknown method, 4 bits"),  # of MLX
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_quantised_weights_are_refused_before_they_are_read(tmp_path, settings, reason, nested):
    quantised = {"quantization_config": settings}
    inner = {"text_config": {"model_type": "qwen3", **quantised}}
    configured(tmp_path, model_type="qwen3", **(inner if nested else quantised))
    said = refused(tmp_path)
    assert f"has quantised weights ({reason}), expected floating-point ones" in said
    assert said.endswith("pass the unquantised model")


@pytest.mark.parametrize(
    "kind", ["mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3", "jetmoe", "llama4_text"]
)
def test_a_mixture_of_experts_is_refused_before_its_weights_are_read(tmp_path, kind):
    configured(tmp_path, model_type=kind, num_hidden_layers=4)
    said = refused_to_export(tmp_path)
    assert "is a mixture of experts (model.layers." in said
    assert said.endswith("pass a dense model")


def test_a_model_that_could_have_experts_and_has_none_is_dense(tmp_path):
    model = tiny("qwen3_moe", num_hidden_layers=1, mlp_only_layers=[0])
    assert_computes(save_base(model, tmp_path / "base"), model)


def test_commands_say_it_in_one_line(tmp_path, merged):
    merged.save(tmp_path / "merged")
    saved(tmp_path / "base", tiny_llama(), lambda t: t.pop(PROJECTION) is None)
    command = ("export", tmp_path / "merged", "--base", tmp_path / "base", "-o", tmp_path / "out")
    assert f"lacks 1 weights of a LlamaForCausalLM (first: {PROJECTION})" in fails(*command)
    assert not (tmp_path / "out").exists()
