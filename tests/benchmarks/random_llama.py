"""Write a base of Llama-3.2-1B's shape with random weights, for measurements of speed and size.

python tests/benchmarks/random_llama.py DIRECTORY
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


def main(directory: Annotated[Path, typer.Argument(help="Base model to write.")]) -> None:
    """Write it in float16, 2.5 GB."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16)
    LlamaForCausalLM(LLAMA_1B).save_pretrained(directory)


if __name__ == "__main__":
    typer.run(main)
