"""Base models from GGUF files that the test writes itself."""

import copy
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import gguf
import pytest
import torch
from command_line import fails, succeeds
from conftest import save_adapter, tiny_llama
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from hydraopt.zoo.model import EOS_ID, new_tokenizer

TEMPLATE = "{% for message in messages %}<{{ message['content'] }}>{% endfor %}"
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    """``model.layers.0.mlp.up_proj.weight`` -> ``blk.0.ffn_up.weight``."""
    stem = name.removesuffix(".weight")
    if stem in NAMES:
        return f"{NAMES[stem]}.weight"
    _, _, layer, kind = stem.split(".", 3)
    return f"blk.{layer}.{NAMES[kind]}.weight"


def neighbours(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """A head's rows as GGUF has them, for rope on neighbours instead of halves."""
    rows, columns = weight.shape
    halves = weight.view(heads, 2, rows // heads // 2, columns)
    return halves.transpose(1, 2).reshape(rows, columns)


def tokens() -> list[str]:
    """The bytes, with ``ab`` instead of the last one, and two special tokens."""
    names = new_tokenizer().convert_ids_to_tokens(range(258))
    return [*names[:255], "ab", *names[256:]]


def write_gguf(
    path: Path,
    model: LlamaForCausalLM,
    architecture: str = "llama",
    lacks: str = "",
    parts: int = 1,
    more: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write ``model`` with 8-bit matrices; its own weights become what they stand for.

    Args:
        path: the file; parts of it lie beside it.
        model: what to write.
        architecture: what GGUF calls it.
        lacks: start of the names of tensors to leave out.
        parts: files to write.
        more: tensors beside the model's.
    """
    config = model.config
    names = [name for name, _ in model.named_parameters()]
    split = 0 if parts == 1 else -(-len(names) // parts)
    writer = gguf.GGUFWriter(path, architecture, split_max_tensors=split)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens())
    writer.add_token_types([gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL] * 2)
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(EOS_ID)
    writer.add_chat_template(TEMPLATE)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in (more or {}).items():
        writer.add_tensor(name, tensor.numpy())
    for name, parameter in model.named_parameters():
        if lacks and gguf_name(name).startswith(lacks):
            continue
        if parameter.ndim == 1:
            writer.add_tensor(gguf_name(name), parameter.detach().numpy())
            continue
        kind = gguf.GGMLQuantizationType.Q8_0
        coded = gguf.quantize(parameter.detach().numpy(), kind)
        parameter.data = torch.from_numpy(gguf.dequantize(coded, kind))
        rows = torch.from_numpy(coded)
        head = name.split(".")[-2]
        rows = neighbours(rows, heads[head]) if head in heads else rows
        writer.add_tensor(gguf_name(name), rows.numpy(), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, LlamaForCausalLM]:
    path, model = tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_llama()
    write_gguf(path, model)
    return path, model


def test_a_converted_base_is_the_model_that_was_written(written, tmp_path):
    path, model = written
    out = tmp_path / "base"
    record = json.loads(succeeds("base", "from-gguf", path, "-o", out, "--json"))
    assert record["architecture"] == "llama"
    assert record["parameters"] == model.num_parameters()
    assert record["bytes"] == sum(file.stat().st_size for file in out.iterdir())
    loaded = AutoModelForCausalLM.from_pretrained(out)
    assert loaded.dtype == torch.float16
    assert not hasattr(loaded.config, "quantization_config")
    assert loaded.generation_config.eos_token_id == EOS_ID
    ids = torch.tensor([[5, 17, 99, 200, 3]])
    torch.testing.assert_close(loaded.float()(ids).logits, model(ids).logits, atol=1e-3, rtol=0)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.encode("Äb ab!") == [*"Äb ".encode(), 255, ord("!")]
    messages = [{"role": "user", "content": "ab"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == "<ab>"


def test_what_is_no_gguf_file_is_refused(tmp_path):
    text = tmp_path / "notes.gguf"
    text.write_text("notes")
    out = tmp_path / "base"
    assert "notes.gguf is not a GGUF file: it starts with b'note', expected b'GGUF'" in fails(
        "base", "from-gguf", text, "-o", out
    )
    assert "none.gguf (No such file or directory); pass the .gguf" in fails(
        "base", "from-gguf", tmp_path / "none.gguf", "-o", out
    )
    assert list(tmp_path.iterdir()) == [text]


@pytest.mark.parametrize("share", [0.01, 0.2, 0.9])
def test_a_cut_file_is_refused(written, tmp_path, share):
    whole = written[0].read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: int(len(whole) * share)])
    assert "expected a whole GGUF file" in fails("base", "from-gguf", cut, "-o", tmp_path / "base")
    assert list(tmp_path.iterdir()) == [cut]


@pytest.mark.parametrize(
    ("lacks", "reason"),
    [
        ("blk.0.ffn_up", "(first: model.layers.0.mlp.up_proj.weight), expected none"),
        ("token_embd", "(first: model.embed_tokens.weight), expected none"),
        ("blk.0.attn_norm", "(first: model.layers.0.input_layernorm.weight), expected none"),
    ],
)
def test_a_file_that_lacks_a_tensor_is_refused(tmp_path, lacks, reason):
    path = tmp_path / "less.gguf"
    write_gguf(path, tiny_llama(), lacks=lacks)
    said = fails("base", "from-gguf", path, "-o", tmp_path / "base")
    assert "less.gguf lacks 1 weights of a LlamaForCausalLM" in said and reason in said
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_without_a_head_ties_it_to_the_embedding(tmp_path):
    model = tiny_llama()
    write_gguf(tmp_path / "tied.gguf", model, lacks="output.weight")
    succeeds("base", "from-gguf", tmp_path / "tied.gguf", "-o", tmp_path / "base")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    model.lm_head.weight = model.model.embed_tokens.weight
    ids = torch.tensor([[5, 17, 99, 200, 3]])
    torch.testing.assert_close(loaded(ids).logits, model(ids).logits, atol=1e-3, rtol=0)


@pytest.mark.parametrize("part", [1, 2, 3])
def test_one_part_of_several_is_refused(tmp_path, part):
    write_gguf(tmp_path / "model.gguf", tiny_llama(), parts=3)
    path = tmp_path / f"model-0000{part}-of-00003.gguf"
    said = fails("base", "from-gguf", path, "-o", tmp_path / "base")
    assert "llama-gguf-split --merge joins parts" in said
    assert not (tmp_path / "base").exists()


def test_tensors_that_transformers_does_not_read_are_refused(tmp_path):
    path = tmp_path / "more.gguf"
    write_gguf(path, tiny_llama(), more={"blk.0.attn_q.bias": torch.ones(64)})
    said = fails("base", "from-gguf", path, "-o", tmp_path / "base")
    assert "more.gguf has 64 values for which transformers' LlamaForCausalLM has no place" in said
    assert list(tmp_path.iterdir()) == [path]


def test_the_scaled_rope_of_llama_3_is_kept(tmp_path):
    plain = tiny_llama(max_position_embeddings=256)
    config = copy.deepcopy(plain.config)
    config.rope_parameters = {
        **{"rope_type": "llama3", "rope_theta": 1e4, "factor": 32.0, "low_freq_factor": 1.0},
        **{"high_freq_factor": 4.0, "original_max_position_embeddings": 32},
    }
    scaled = LlamaForCausalLM(config).eval()
    scaled.load_state_dict(plain.state_dict())
    factors = plain.model.rotary_emb.inv_freq / scaled.model.rotary_emb.inv_freq
    write_gguf(tmp_path / "scaled.gguf", scaled, more={"rope_freqs.weight": factors})
    succeeds("base", "from-gguf", tmp_path / "scaled.gguf", "-o", tmp_path / "base")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    ids = torch.arange(200)[None]
    torch.testing.assert_close(loaded(ids).logits, scaled(ids).logits, atol=1e-3, rtol=0)
    plain.load_state_dict(scaled.state_dict())
    assert (plain(ids).logits - scaled(ids).logits).abs().max() > 3e-3


def test_an_adapter_beside_the_file_is_not_added(written, tmp_path):
    path = tmp_path / "tiny.gguf"
    path.write_bytes(written[0].read_bytes())
    save_adapter(tmp_path)
    succeeds("base", "from-gguf", path, "-o", tmp_path / "base")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    ids = torch.tensor([[5, 17, 99, 200, 3]])
    torch.testing.assert_close(loaded(ids).logits, written[1](ids).logits, atol=1e-3, rtol=0)


def test_an_architecture_that_transformers_does_not_read_is_named(tmp_path):
    path = tmp_path / "odd.gguf"
    write_gguf(path, tiny_llama(), "oddity")
    assert "architecture oddity is not supported" in fails(
        "base", "from-gguf", path, "-o", tmp_path / "base"
    )
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_directory_is_replaced_only_on_request(written, tmp_path):
    out = tmp_path / "base"
    out.mkdir()
    (out / "notes.txt").touch()
    command = ("base", "from-gguf", written[0], "-o", out)
    assert "exists already; choose another or overwrite it (--overwrite)" in fails(*command)
    assert "holds files but no hydraopt-files.json" in fails(*command, "--overwrite")
    (out / "notes.txt").unlink()
    succeeds(*command, "--overwrite")
    succeeds(*command, "--overwrite")


def test_a_missing_package_is_named(written, tmp_path):
    code = "import sys; sys.modules['gguf'] = None; from hydraopt.cli import main; main()"
    command = [sys.executable, "-c", code, "base", "from-gguf", written[0], "-o", tmp_path / "base"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: gguf is not installed; run pip install 'hydraopt[all]'\n"
    assert list(tmp_path.iterdir()) == []
