"""BERT: text classification; each task has its own head and number of classes."""

from transformers import AutoModel, AutoModelForSequenceClassification, BertConfig

from ..zoo.model import PAD_ID, VOCAB_SIZE
from .family import Family

FAMILY = Family(
    base="google-bert/bert-base-uncased",
    targets=("query", "key", "value"),
    auto=AutoModelForSequenceClassification,
    pretrained=AutoModel,
    head="classifier",
    tiny=BertConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        pad_token_id=PAD_ID,
    ),
)
