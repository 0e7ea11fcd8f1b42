"""Export the baseline: ExecuTorch's own program of a Llama base, from its exporter ``export_llm``.

    python tests/benchmarks/export_llm_program.py BASE -o program.pte

The options are those that ExecuTorch recommends for a phone's CPU: its own operators for KV cache
and attention, linear layers 8da4w in groups of 32, a 4-bit embedding, and everything that XNNPACK
supports delegated to it. The program is called as
``forward(tokens [1, S] int64, position [1] int64) -> logits [1, vocabulary]`` of the last token.
"""

import json
import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from in_turns import Program, load
from inputs import first_position, token_ids
from memory import peak_bytes
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

CONTEXT, PROMPT, GROUP = 512, 128, 32  # tokens, tokens in one call, weights
LEAST_CORRELATION = 0.5  # 4-bit weights alone leave .65 (random Llama) to .9 (SmolLM2)
NAMES = {
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "embed_tokens": "tok_embeddings",
    "lm_head": "output",
}


class Cost(NamedTuple):
    """What an export took."""

    seconds: float
    peak_bytes: int


def export_llm_program(base: Path, program: Path) -> Cost:
    """Write the program of ``base``, in a process of its own that is measured, and check it."""
    with tempfile.TemporaryDirectory(dir=program.parent) as directory:
        export = exporting(base, Path(directory), program)
        start = time.perf_counter()
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            peak = pool.submit(export).result()
        seconds = time.perf_counter() - start
    found = correlation(base, program)
    if found < LEAST_CORRELATION:
        raise SystemExit(f"logits of {program} correlate by {found:.2f} with those of {base}")
    return Cost(seconds, peak)


def exporting(base: Path, directory: Path, program: Path) -> Callable[[], int]:
    """Write what the exporter reads to a directory; the call that runs it and returns its peak."""
    config = AutoConfig.from_pretrained(base, trust_remote_code=False)
    checkpoint, params = directory / "base.pth", directory / "params.json"
    params.write_text(json.dumps(model_args(config)))
    torch.save(checkpoint_of(base, config), checkpoint)
    return partial(_export, checkpoint, params, program)


def correlation(base: Path, program: Path) -> float:
    """Of the next token's logits after 32 tokens, between the program and transformers."""
    (method,) = load(Program("export_llm", program, first_position))
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, trust_remote_code=False)
    with torch.no_grad():
        wanted = model(token_ids(32)).logits[0, -1]
    found = method.execute(first_position(32, 0))[0].flatten()
    return torch.corrcoef(torch.stack([found, wanted]))[0, 1].item()


def model_args(config: LlamaConfig) -> dict:
    """Llama's ``params.json`` for a Hugging Face configuration."""
    rope = config.rope_parameters
    if config.model_type != "llama" or rope["rope_type"] != "default":
        raise SystemExit(
            f"a {config.model_type} with {rope['rope_type']} rope, expected a plain Llama"
        )
    return {
        "dim": config.hidden_size,
        "hidden_dim": config.intermediate_size,
        "n_layers": config.num_hidden_layers,
        "n_heads": config.num_attention_heads,
        "n_kv_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "norm_eps": config.rms_norm_eps,
        "rope_theta": rope["rope_theta"],
    }


def checkpoint_of(base: Path, config: LlamaConfig) -> dict[str, torch.Tensor]:
    """The weights under Meta's names, q and k in Meta's order of a head's rows."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto", trust_remote_code=False)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    checkpoint = {}
    for name, weight in model.state_dict().items():
        kind = name.split(".")[-2]
        ordered = interleaved(weight, heads[kind]) if kind in heads else weight
        checkpoint[meta_name(name)] = ordered
    return checkpoint


def meta_name(name: str) -> str:
    """``model.layers.0.mlp.up_proj.weight`` -> ``layers.0.feed_forward.w3.weight``."""
    found = re.fullmatch(r"(?:model\.)?(layers\.\d+\.)?(.+)\.weight", name)
    assert found, f"{name} is not a weight"
    layer, kind = found.groups()
    return f"{layer or ''}{NAMES.get(kind, kind)}.weight"


def interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of each head for rope on neighbours ``(2i, 2i + 1)`` instead of ``(i, i + d / 2)``."""
    rows, columns = weight.shape
    halves = weight.view(heads, 2, rows // heads // 2, columns)
    return halves.transpose(1, 2).reshape(rows, columns)


def _export(checkpoint: Path, params: Path, program: Path) -> int:
    """Run the exporter in this process; its peak of memory in bytes."""
    from executorch.examples.models.llama.export_llama_lib import export_llama
    from executorch.extension.llm.export.config.llm_config import LlmConfig, ModelType

    config = LlmConfig()
    config.base.model_class = ModelType.llama3_2
    config.base.checkpoint, config.base.params = str(checkpoint), str(params)
    config.model.use_kv_cache = config.model.use_sdpa_with_kv_cache = True
    config.model.enable_dynamic_shape = True
    config.export.max_seq_length = PROMPT + 1  # the program takes one token less
    config.export.max_context_length = CONTEXT
    config.export.output_dir, config.export.output_name = str(program.parent), program.stem
    config.quantization.qmode, config.quantization.group_size = "8da4w", GROUP
    config.quantization.embedding_quantize = f"4,{GROUP}"
    config.backend.xnnpack.enabled = config.backend.xnnpack.extended_ops = True
    export_llama(config)
    return peak_bytes()


def main(
    base: Annotated[Path, typer.Argument(help="Directory of a Llama.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .pte file to write.")],
) -> None:
    """Export and print time, memory and size."""
    cost = export_llm_program(base, output.resolve())
    size = output.stat().st_size
    print(f"{cost.seconds:.0f} s, peak {cost.peak_bytes / 1e9:.1f} GB, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    typer.run(main)
