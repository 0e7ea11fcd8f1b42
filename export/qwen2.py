"""Qwen 2.5: biases on q, k and v."""

from recipe import ATTENTION, TINY_DECODER, Family, main
from templates import CHATML
from transformers import Qwen2Config

FAMILY = Family(
    base="Qwen/Qwen2.5-0.5B-Instruct",
    targets=ATTENTION,
    tiny=Qwen2Config(**TINY_DECODER),
    chat_template=CHATML,
)

if __name__ == "__main__":
    main(FAMILY)
