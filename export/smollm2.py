"""SmolLM2: a Llama whose embeddings are tied."""

from recipe import ATTENTION, Family, main
from templates import CHATML
from transformers import LlamaConfig

from hydraopt.zoo.model import EOS_ID, PAD_ID, VOCAB_SIZE

FAMILY = Family(
    base="HuggingFaceTB/SmolLM2-135M-Instruct",
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
    ),
    chat_template=CHATML,
)

if __name__ == "__main__":
    main(FAMILY)
