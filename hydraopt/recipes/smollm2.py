"""SmolLM2: a Llama with tied embeddings."""

from transformers import LlamaConfig

from .family import ATTENTION, TINY_DECODER, Family
from .templates import CHATML

FAMILY = Family(
    base="HuggingFaceTB/SmolLM2-135M-Instruct",
    targets=ATTENTION,
    tiny=LlamaConfig(**TINY_DECODER),
    chat_template=CHATML,
)
