"""Qwen 3: query and key norms, an explicit head dimension."""

from transformers import Qwen3Config

from .family import ATTENTION, TINY_DECODER, Family
from .templates import QWEN3

FAMILY = Family(
    base="Qwen/Qwen3-0.6B",
    targets=ATTENTION,
    tiny=Qwen3Config(
        **TINY_DECODER,
        head_dim=32,
    ),
    chat_template=QWEN3,
)
