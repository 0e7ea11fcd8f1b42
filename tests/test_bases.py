"""Base models: whole ones compute what was saved, what is none is refused by what it is."""

import ast
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from conftest import BASE_ID, save_adapter, tiny_llama
from encoders import bert_config, save_base
from families import tiny
from huggingface_hub import constants
from peft import PeftModel
from saved_bases import (
    IDS,
    WEIGHTS,
    assert_computes,
    configured,
    logits,
    refused,
    refused_to_export,
    saved,
)
from transformers import (
    AutoModelForCausalLM,
    BertForMaskedLM,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
)

from hydraopt.errors import LoweringError
from hydraopt.lowering.base_model import load_base

ROOT, CODE = Path(__file__).parents[1], ("hydraopt", "export", "tests/benchmarks")


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


def test_an_adapter_in_place_of_a_base_is_refused(tmp_path):
    save_adapter(tmp_path / "adapter")
    assert "is an adapter (adapter_config.json without config" in refused(tmp_path / "adapter")


def test_a_diffusion_pipeline_is_refused(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert "is a diffusion pipeline (model_index.json), expected a causal" in refused(tmp_path)


def test_parts_of_a_model_that_a_training_saved_are_refused(tmp_path):
    base = save_base(tiny_llama(), tmp_path / "base")
    (base / WEIGHTS).rename(base / "shard-00000-model-00001-of-00001.safetensors")
    assert "holds a distributed checkpoint (shard-00000-model-" in refused(base)


def test_an_adapter_beside_a_base_of_the_hub_is_refused(tmp_path, monkeypatch):
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
def test_an_encoder_decoder_is_refused_before_its_weights_are_read(tmp_path, kind):
    parts = {"encoder": {"model_type": "vit"}, "decoder": {"model_type": "gpt2"}}
    configured(tmp_path, model_type=kind, **(parts if "vision" in kind else {}))
    assert f"is an encoder-decoder ({kind}), expected a causal" in refused(tmp_path)


@pytest.mark.parametrize("kind", ["wav2vec2", "sam", "clap"])
def test_a_model_of_no_kind_that_is_exported_is_refused_by_its_type(tmp_path, kind):
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
