"""ModernBERT: token classification; sliding windows in most layers, two RoPE bases."""

from transformers import AutoModelForMaskedLM, AutoModelForTokenClassification, ModernBertConfig

from ..zoo.model import EOS_ID, PAD_ID, VOCAB_SIZE
from .family import Family

FAMILY = Family(
    base="answerdotai/ModernBERT-base",
    targets=("Wqkv",),
    auto=AutoModelForTokenClassification,
    pretrained=AutoModelForMaskedLM,
    task_type="TOKEN_CLS",
    head="classifier",
    tiny=ModernBertConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=64,
        local_attention=8,
        layer_types=["full_attention", "sliding_attention", "sliding_attention"],
        pad_token_id=PAD_ID,
        bos_token_id=None,
        eos_token_id=EOS_ID,
        cls_token_id=None,
        sep_token_id=None,
    ),
)
