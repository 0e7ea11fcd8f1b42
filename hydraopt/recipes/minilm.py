"""MiniLM: sentence embeddings, the mean of a BERT's last hidden states."""

from transformers import AutoModel, BertConfig

from ..zoo.model import PAD_ID, VOCAB_SIZE
from .family import Family

FAMILY = Family(
    base="sentence-transformers/all-MiniLM-L6-v2",
    targets=("query", "key", "value"),
    auto=AutoModel,
    tiny=BertConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=PAD_ID,
    ),
)
