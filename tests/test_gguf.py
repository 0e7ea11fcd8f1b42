"""Base models from GGUF files that the test writes itself."""

import json
import subprocess
import sys
from pathlib import Path

import gguf
import pytest
import torch
from conftest import tiny_llama
from test_cli import fails, succeeds
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


def write_gguf(path: Path, model: LlamaForCausalLM, architecture: str = "llama") -> None:
    """Write ``model`` with 8-bit matrices; its own weights become what they stand for."""
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
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
    for name, parameter in model.named_parameters():
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
    assert "notes.gguf is no GGUF file: it starts with b'note', expected b'GGUF'" in fails(
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
    assert "exists already; choose another or pass --overwrite" in fails(*command)
    assert "holds other files and no config.json" in fails(*command, "--overwrite")
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
