"""Write a base of Llama-3.2-1B's shape with random weights, for measurements of speed and size.

python tests/benchmarks/random_llama.py DIRECTORY [--layers 2]
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers import LlamaConfig, LlamaForCausalLM

LLAMA_1B = LlamaConfig(
    vocab_size=128256,
    hidden_size=2048,
    intermediate_size=8192,
    num_hidden_layers=16,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=64,
    max_position_embeddings=131072,
    rope_theta=500000.0,
    tie_word_embeddings=True,
    bos_token_id=128000,
    eos_token_id=128001,
)

LLAMA_3B = LlamaConfig.from_dict(
    {
        **LLAMA_1B.to_dict(),
        "hidden_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 24,
        "head_dim": 128,
    }
)


def write(directory: Path, config: LlamaConfig) -> None:
    """Write a random model in float16."""
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        LlamaForCausalLM(config).save_pretrained(directory)
    finally:
        torch.set_default_dtype(default)


def cut(config: LlamaConfig, layers: int) -> LlamaConfig:
    """The same shape with fewer layers."""
    return LlamaConfig.from_dict({**config.to_dict(), "num_hidden_layers": layers})


def main(
    directory: Annotated[Path, typer.Argument(help="Base model to write.")],
    layers: Annotated[int, typer.Option(help="Number of layers.")] = LLAMA_1B.num_hidden_layers,
) -> None:
    """Write it in float16, 2.5 GB with all layers."""
    write(directory, cut(LLAMA_1B, layers))


if __name__ == "__main__":
    typer.run(main)
