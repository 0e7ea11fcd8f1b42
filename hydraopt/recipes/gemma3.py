"""Gemma 3: sliding windows in most layers, query and key norms, scaled embeddings."""

from transformers import Gemma3TextConfig

from .family import ATTENTION, TINY_DECODER, Family
from .templates import GEMMA

FAMILY = Family(
    base="google/gemma-3-1b-it",
    targets=ATTENTION,
    tiny=Gemma3TextConfig(
        **TINY_DECODER,
        head_dim=32,
        query_pre_attn_scalar=32,
        layer_types=["sliding_attention", "full_attention"],
        sliding_window=16,
    ),
    chat_template=GEMMA,
)
