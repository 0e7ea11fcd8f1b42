"""Base models: whole ones compute what was saved, all others are refused by their cause."""

import ast
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import BASE_ID, save_adapter, tiny_llama
from encoders import bert_config, save_base, tiny_bert, tiny_vit
from families import tiny
from huggingface_hub import constants
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from test_cli import fails
from transformers import (
    AutoModelForCausalLM,
    BertForMaskedLM,
    PreTrainedModel,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
)

from hydraopt.errors import DataError, LoweringError
from hydraopt.lowering.base_model import load_base
from hydraopt.training import load_model

IDS = torch.tensor([[5, 17, 90, 20, 3]])
ROOT, CODE = Path(__file__).parents[1], ("hydraopt", "export", "tests/benchmarks")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PROJECTION = "model.layers.0.mlp.up_proj.weight"

Tensors = dict[str, torch.Tensor]


def saved(directory: Path, model: PreTrainedModel, change: Callable[[Tensors], object]) -> Path:
    """A model as transformers writes it, with other tensors."""
    save_base(model, directory)
    tensors = load_file(directory / WEIGHTS)
    save_file(change(tensors) or tensors, directory / WEIGHTS, {"format": "pt"})
    return directory


def configured(directory: Path, **fields: object) -> Path:
    """A directory with nothing but a configuration: what is refused was refused before weights."""
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(fields))
    return directory


def refused(directory: Path) -> str:
    """What an export and a training say, which is the same, in one line."""
    said = []
    for load, error in (
        (lambda base: load_base(base, base), LoweringError),
        (load_model, DataError),
    ):
        with pytest.raises(error) as caught:
            load(str(directory))
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "\n" not in said[0] and str(directory) in said[0]
    return said[0].replace(repr(str(directory)), "BASE")


def refused_to_export(directory: Path) -> str:
    with pytest.raises(LoweringError) as caught:
        load_base(str(directory), str(directory))
    return str(caught.value)


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def assert_computes(directory: Path, model: PreTrainedModel) -> None:
    for loaded in (load_base(str(directory), str(directory)).model, load_model(str(directory))[0]):
        torch.testing.assert_close(logits(loaded), logits(model))


# whole models


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3_text", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_whole_base_computes_what_was_saved(tmp_path, family, tied):
    model = tiny(family, tie_word_embeddings=tied)
    assert_computes(save_base(model, tmp_path / "base"), model)


def test_a_tied_head_may_be_stored_as_well(tmp_path):
    model, embedding = tiny("llama", tie_word_embeddings=True), "model.embed_tokens.weight"
    saved(tmp_path / "base", model, lambda t: t.update({"lm_head.weight": t[embedding].clone()}))
    assert_computes(tmp_path / "base", model)


def test_buffers_that_older_versions_stored_are_no_weights(tmp_path):
    model = tiny("gpt2")
    mask = torch.ones(1, 1, 32, 32).tril().bool()
    saved(tmp_path / "base", model, lambda t: t.update({"transformer.h.0.attn.bias": mask}))
    assert_computes(tmp_path / "base", model)


def test_the_head_of_another_task_changes_no_logits(tmp_path):
    model = tiny_llama()
    saved(tmp_path / "base", model, lambda t: t.update({"v_head.weight": torch.ones(1, 64)}))
    assert_computes(tmp_path / "base", model)


def test_an_encoder_may_have_been_trained_on_masked_texts(tmp_path):
    model = BertForMaskedLM(bert_config()).eval()
    found = load_base(str(save_base(model, tmp_path / "base")), str(tmp_path / "base")).model
    with torch.no_grad():
        wanted = model.bert(IDS).last_hidden_state
        torch.testing.assert_close(found(IDS).last_hidden_state, wanted)


def test_the_text_model_of_a_vision_language_model_leaves_its_tower_out(tmp_path):
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}
    text = {**sizes, "vocab_size": 258, "num_hidden_layers": 1, "num_key_value_heads": 2}
    vision = {**sizes, "num_heads": 4, "depth": 1, "out_hidden_size": 64}
    text |= {"layer_types": ["full_attention"], "head_dim": 16, "max_position_embeddings": 32}
    torch.manual_seed(0)
    config = Qwen3_5Config(text_config=text, vision_config=vision)
    model = Qwen3_5ForConditionalGeneration(config).eval()
    assert_computes(save_base(model, tmp_path / "base"), model)


# weights


def test_a_base_that_lacks_a_projection_is_refused(tmp_path):
    saved(tmp_path / "base", tiny_llama(), lambda t: t.pop(PROJECTION) is None)
    assert refused(tmp_path / "base").startswith(
        f"base model BASE lacks 1 weights of a LlamaForCausalLM (first: {PROJECTION}), expected"
    )


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model.model."])
def test_names_under_a_prefix_are_told(tmp_path, prefix):
    saved(tmp_path / "base", tiny_llama(), lambda t: {f"{prefix}{k}": v for k, v in t.items()})
    said = refused(tmp_path / "base")
    assert "(first: lm_head.weight), expected none; it has" in said
    assert f"it has {prefix}lm_head.weight: save the model itself, not what wraps it" in said


def test_a_base_saved_with_its_adapter_inside_is_told_by_the_nearest_name(tmp_path):
    model = get_peft_model(tiny_llama(), LoraConfig(target_modules=["up_proj"]))
    tensors = {name: x.clone() for name, x in model.base_model.model.state_dict().items()}
    saved(tmp_path / "base", tiny_llama(), lambda _: tensors)
    said = refused(tmp_path / "base")
    assert "(first: model.layers.0.mlp.up_proj.weight), expected none; the nearest that" in said
    assert "that it has is model.layers.0.mlp.up_proj." in said


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


# adapters and other things in place of a base


def test_an_adapter_beside_the_base_is_not_added_to_it(tmp_path):
    save_base(tiny_llama(), tmp_path / "base")
    save_adapter(tmp_path / "base")
    assert len(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "base"))) == 1  # it adds it
    said = refused(tmp_path / "base")
    assert said.startswith("base model BASE also holds an adapter (adapter_config.json), which")
    assert said.endswith(
        "move adapter_config.json and adapter_model.* elsewhere, or merge them into the base"
    )


def test_a_base_that_peft_merged_and_saved_is_refused_until_the_adapter_is_moved(tmp_path):
    save_base(tiny_llama(), tmp_path / "first")
    save_adapter(tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "first")
    merged = PeftModel.from_pretrained(base, tmp_path / "adapter").merge_and_unload()
    save_base(merged, tmp_path / "base")
    for path in (tmp_path / "adapter").glob("adapter_*"):
        shutil.copy(path, tmp_path / "base")
    assert "also holds an adapter" in refused(tmp_path / "base")
    for path in (tmp_path / "base").glob("adapter_*"):
        path.unlink()
    assert_computes(tmp_path / "base", merged)


def test_an_adapter_in_place_of_a_base_is_told(tmp_path):
    save_adapter(tmp_path / "adapter")
    assert "is an adapter (adapter_config.json without config" in refused(tmp_path / "adapter")


def test_a_diffusion_pipeline_is_told(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert "is a diffusion pipeline (model_index.json), expected a causal" in refused(tmp_path)


def test_parts_of_a_model_that_a_training_saved_are_told(tmp_path):
    base = save_base(tiny_llama(), tmp_path / "base")
    (base / WEIGHTS).rename(base / "shard-00000-model-00001-of-00001.safetensors")
    assert "holds what the processes of a training saved (shard-00000-model-" in refused(base)


def test_an_adapter_beside_a_base_of_the_hub_is_told(tmp_path, monkeypatch):
    """As the hub's cache on this machine has it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--tests--tiny-llama"
    base = save_base(tiny_llama(), repository / "snapshots" / "0123")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    torch.testing.assert_close(logits(load_base(BASE_ID, BASE_ID).model), logits(tiny_llama()))
    save_adapter(base)
    with pytest.raises(LoweringError, match=f"base model '{BASE_ID}' also holds an adapter"):
        load_base(BASE_ID, BASE_ID)


@pytest.mark.parametrize("kind", ["t5", "bart", "whisper", "t5gemma", "vision-encoder-decoder"])
def test_an_encoder_decoder_is_told_before_its_weights_are_read(tmp_path, kind):
    parts = {"encoder": {"model_type": "vit"}, "decoder": {"model_type": "gpt2"}}
    configured(tmp_path, model_type=kind, **(parts if "vision" in kind else {}))
    assert f"is an encoder-decoder ({kind}), expected a causal" in refused(tmp_path)


@pytest.mark.parametrize("kind", ["wav2vec2", "sam", "clap"])
def test_a_model_of_no_kind_that_is_exported_is_told_by_its_type(tmp_path, kind):
    configured(tmp_path, model_type=kind)
    assert f"is of type {kind}, expected a causal language" in refused_to_export(tmp_path)


# code


def test_code_of_a_base_never_runs_and_nobody_is_asked(tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    base = save_base(tiny_llama(), tmp_path / "base")
    code = f"open({str(ran)!r}, 'w')\nclass Config: pass\n"
    (base / "own.py").write_text(code)
    own = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    config = json.loads((base / "config.json").read_text())
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    configured(base, **config, auto_map=own)  # transformers has a class for it: that one loads
    assert_computes(base, tiny_llama())
    configured(base, **{**config, "model_type": "own", "auto_map": own})
    assert "is of type own, which needs code of its own (auto_map in config.json)" in refused(base)
    assert not ran.exists()


def test_no_call_of_an_auto_class_leaves_it_to_others_whether_code_runs():
    calls = []
    for path in (p for root in CODE for p in (ROOT / root).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if re.search(r"(Auto\w+|auto|make)\.from_pretrained$", called):
                trusted = {x.arg: ast.unparse(x.value) for x in node.keywords}
                calls.append((f"{path.name}: {called}", trusted.get("trust_remote_code")))
    assert len(calls) > 10
    assert [call for call, trusted in calls if trusted != "False"] == []


def test_code_of_a_tokenizer_never_runs(tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    base = save_base(tiny_llama(), tmp_path / "base")
    (base / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: pass\n")
    path = base / "tokenizer_config.json"
    own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    assert "contains custom code" in refused(base)
    assert not ran.exists()


# forms of weights and layers that no program is made of


@pytest.mark.parametrize(
    ("settings", "told"),
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
def test_quantised_weights_are_refused_before_they_are_read(tmp_path, settings, told, nested):
    quantised = {"quantization_config": settings}
    inner = {"text_config": {"model_type": "qwen3", **quantised}}
    configured(tmp_path, model_type="qwen3", **(inner if nested else quantised))
    said = refused(tmp_path)
    assert f"has quantised weights ({told}), expected floating-point ones" in said
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


# shards


@pytest.fixture
def sharded(tmp_path) -> Path:
    model = tiny_llama()
    save_base(model, tmp_path / "base")
    (tmp_path / "base" / WEIGHTS).unlink()
    model.save_pretrained(tmp_path / "base", max_shard_size="100KB")
    return tmp_path / "base"


def shards(directory: Path) -> list[str]:
    return sorted({*json.loads((directory / INDEX).read_text())["weight_map"].values()})


def renamed(directory: Path, to: str) -> None:
    """Let the index name another file in place of the first shard."""
    text = (directory / INDEX).read_text()
    (directory / INDEX).write_text(text.replace(json.dumps(shards(directory)[0]), json.dumps(to)))


def test_whole_shards_are_loaded(sharded):
    assert len(shards(sharded)) > 1
    assert_computes(sharded, tiny_llama())


def test_a_shard_outside_of_the_directory_is_refused(sharded, tmp_path):
    first = shards(sharded)[0]
    shutil.move(sharded / first, tmp_path / first)
    for name in (str(tmp_path / first), f"../{first}"):
        renamed(sharded, name)
        assert f"(weights outside of the directory: {name[:60]}" in refused(sharded)


def test_a_shard_that_is_a_pipe_hangs_nobody(sharded):
    (sharded / "sub").mkdir()
    os.mkfifo(sharded / "sub" / "pipe.safetensors")
    renamed(sharded, "sub/pipe.safetensors")
    assert "(sub/pipe.safetensors: no regular file)" in refused(sharded)


def test_a_missing_and_a_cut_shard_are_named(sharded):
    first = sharded / shards(sharded)[0]
    content = first.read_bytes()
    first.write_bytes(content[:-100])
    assert f"({first.name}: Error while deserializing header: incomplete" in refused(sharded)
    first.unlink()
    assert f"({first.name}: No such file or directory)" in refused(sharded)


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_none_is_named(sharded, text):
    (sharded / INDEX).write_text(text)
    assert f"({INDEX}: no index of shards, expected metadata and a" in refused(sharded)


def test_an_index_that_nobody_reads_is_no_matter(tmp_path):
    base = save_base(tiny_llama(), tmp_path / "base")
    (base / INDEX).write_text('{"metadata": {}, "weight_map": {"a": "none.safetensors"}}')
    assert_computes(base, tiny_llama())


def test_weights_that_a_configuration_names_are_in_its_directory(tmp_path):
    base = save_base(tiny_llama(), tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    shutil.move(base / WEIGHTS, base / "other.safetensors")
    configured(base, **config, transformers_weights="other.safetensors")
    assert_computes(base, tiny_llama())
    configured(base, **config, transformers_weights="../other.safetensors")
    assert "(weights outside of the directory: ../other.safetensors)" in refused(base)


def test_a_pipe_among_the_chat_templates_hangs_nobody(tmp_path):
    base = save_base(tiny_llama(), tmp_path / "base")
    (base / "additional_chat_templates").mkdir()
    os.mkfifo(base / "additional_chat_templates" / "tool.jinja")
    assert "(additional_chat_templates/tool.jinja: no regular file)" in refused(base)


def test_commands_say_it_in_one_line(tmp_path, merged):
    merged.save(tmp_path / "merged")
    saved(tmp_path / "base", tiny_llama(), lambda t: t.pop(PROJECTION) is None)
    command = ("export", tmp_path / "merged", "--base", tmp_path / "base", "-o", tmp_path / "out")
    assert f"lacks 1 weights of a LlamaForCausalLM (first: {PROJECTION})" in fails(*command)
    assert not (tmp_path / "out").exists()
