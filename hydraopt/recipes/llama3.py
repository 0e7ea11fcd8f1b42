"""Llama 3.2: tied embeddings, RoPE with scaled frequencies."""

from transformers import LlamaConfig

from .family import ATTENTION, TINY_DECODER, Family
from .templates import LLAMA3

FAMILY = Family(
    base="meta-llama/Llama-3.2-1B-Instruct",
    targets=ATTENTION,
    tiny=LlamaConfig(
        **TINY_DECODER,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ),
    chat_template=LLAMA3,
)
