"""ViT: image classification; each task has its own head and number of classes."""

from transformers import AutoModel, AutoModelForImageClassification, ViTConfig

from .family import Family

FAMILY = Family(
    base="google/vit-base-patch16-224-in21k",
    targets=("q_proj", "v_proj"),
    auto=AutoModelForImageClassification,
    pretrained=AutoModel,
    head="classifier",
    tiny=ViTConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
    ),
)
