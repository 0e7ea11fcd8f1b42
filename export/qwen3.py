"""Qwen 3: norms on queries and keys, heads of a width of their own."""

from recipe import ATTENTION, TINY_DECODER, Family, main
from templates import QWEN3
from transformers import Qwen3Config

FAMILY = Family(
    base="Qwen/Qwen3-0.6B",
    targets=ATTENTION,
    tiny=Qwen3Config(
        **TINY_DECODER,
        head_dim=32,
    ),
    chat_template=QWEN3,
)

if __name__ == "__main__":
    main(FAMILY)
