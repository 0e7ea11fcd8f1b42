"""Llama 3.2: tied embeddings, rotary positions with scaled frequencies."""

from recipe import ATTENTION, Family, main
from templates import LLAMA3
from transformers import LlamaConfig

from hydraopt.zoo.model import EOS_ID, PAD_ID, VOCAB_SIZE

FAMILY = Family(
    base="meta-llama/Llama-3.2-1B-Instruct",
    targets=ATTENTION,
    tiny=LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=None,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
        tie_word_embeddings=True,
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

if __name__ == "__main__":
    main(FAMILY)
