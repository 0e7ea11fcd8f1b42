"""Qwen 2.5: biases on q, k and v."""

from transformers import Qwen2Config

from .family import ATTENTION, TINY_DECODER, Family
from .templates import CHATML

FAMILY = Family(
    base="Qwen/Qwen2.5-0.5B-Instruct",
    targets=ATTENTION,
    tiny=Qwen2Config(**TINY_DECODER),
    chat_template=CHATML,
)
