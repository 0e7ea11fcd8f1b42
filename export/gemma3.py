"""Gemma 3: sliding windows in most layers, norms on queries and keys, scaled embeddings."""

from recipe import ATTENTION, Family, main
from templates import GEMMA
from transformers import Gemma3TextConfig

from hydraopt.zoo.model import EOS_ID, PAD_ID, VOCAB_SIZE

FAMILY = Family(
    base="google/gemma-3-1b-it",
    targets=ATTENTION,
    tiny=Gemma3TextConfig(
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
        head_dim=32,
        query_pre_attn_scalar=32,
        layer_types=["sliding_attention", "full_attention"],
        sliding_window=16,
    ),
    chat_template=GEMMA,
)

if __name__ == "__main__":
    main(FAMILY)
