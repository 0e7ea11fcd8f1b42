"""A tiny vision-language model, whose text part alone becomes a program."""

import torch
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

TEXT = {
    "vocab_size": 258,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "query_pre_attn_scalar": 20,
    "max_position_embeddings": 32,
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window": 6,
    "bos_token_id": None,
    "eos_token_id": 257,
    "pad_token_id": 0,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
IMAGES = {"mm_tokens_per_image": 4, "image_token_index": 250, "boi_token_index": 251}


def tiny_gemma() -> Gemma3ForConditionalGeneration:
    torch.manual_seed(0)
    config = Gemma3Config(text_config=TEXT, vision_config=VISION, eoi_token_index=252, **IMAGES)
    return Gemma3ForConditionalGeneration(config).eval()


def old_name(key: str) -> str:
    """A tensor's name as it was before transformers 4.52."""
    return key.replace(".model.model.language_model.", ".model.language_model.model.").replace(
        ".model.model.vision_tower.", ".model.vision_tower.vision_model."
    )
