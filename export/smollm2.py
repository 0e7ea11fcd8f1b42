"""SmolLM2: a Llama whose embeddings are tied."""

from recipe import ATTENTION, TINY_DECODER, Family, main
from templates import CHATML
from transformers import LlamaConfig

FAMILY = Family(
    base="HuggingFaceTB/SmolLM2-135M-Instruct",
    targets=ATTENTION,
    tiny=LlamaConfig(**TINY_DECODER),
    chat_template=CHATML,
)

if __name__ == "__main__":
    main(FAMILY)
