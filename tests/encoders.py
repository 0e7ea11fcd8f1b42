"""Tiny encoders and image models, with adapters and heads that PEFT writes."""

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    PreTrainedModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from hydraopt.zoo.model import new_tokenizer

ENCODER_ID, IMAGE_ID = "tests/tiny-bert", "tests/tiny-vit"
SHAPE = (3, 16, 24)
HEADS = {"topic": 5, "mood": 2, "tone": 3}  # classes of tasks that classify texts
TAGS = {"names": 5, "places": 3}  # and tokens
VIEWS = ("alpha", "beta")  # tasks of an image model
SIGHTS = {"weather": 3, "place": 12, "light": 1}  # and of one that classifies
PREPROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": SHAPE[1], "width": SHAPE[2]},
    "resample": 3,
    "image_mean": [0.5, 0.4, 0.6],
    "image_std": [0.5, 0.25, 0.3],
}


def bert_config(**changes) -> BertConfig:
    settings = {
        "vocab_size": 258,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
    }
    return BertConfig(**(settings | changes))


def vit_config(**changes) -> ViTConfig:
    settings = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SHAPE[1:],
        "patch_size": 8,
    }
    return ViTConfig(**(settings | changes))


def tiny_bert() -> BertModel:
    torch.manual_seed(0)
    return BertModel(bert_config()).eval()


def tiny_vit() -> ViTModel:
    torch.manual_seed(0)
    return ViTModel(vit_config()).eval()


def save_base(model: PreTrainedModel, directory: Path) -> Path:
    model.save_pretrained(directory)
    new_tokenizer().save_pretrained(directory)
    return directory


def save_lora(
    directory: Path, model: PreTrainedModel, base_id: str, seed: int, **config
) -> PeftModel:
    """Write a random adapter of ``model`` with PEFT and return the PEFT model.

    Its values are fp16 numbers, as those in packs: a program can compute what PEFT computes.
    """
    settings = {"r": 4, "lora_alpha": 8, "init_lora_weights": False}
    peft = get_peft_model(model, LoraConfig(**(settings | config)))
    peft.peft_config["default"].base_model_name_or_path = base_id
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                random = 0.1 * torch.randn(parameter.shape, generator=generator)
                parameter.copy_(random.half())
    peft.save_pretrained(directory, save_embedding_layers=False)
    return peft.eval()


def viewer(classes: int) -> ViTForImageClassification:
    model = ViTForImageClassification(vit_config(num_labels=classes)).eval()
    model.vit.load_state_dict(tiny_vit().state_dict(), strict=False)
    return model


def classifier(classes: int) -> BertForSequenceClassification:
    """The tiny BERT, and a classifier as it is before training."""
    model = BertForSequenceClassification(bert_config(num_labels=classes)).eval()
    model.bert.load_state_dict(tiny_bert().state_dict())
    return model


def save_classifier(directory: Path, classes: int, seed: int) -> PeftModel:
    settings = {"task_type": "SEQ_CLS", "target_modules": ["query", "pooler.dense"]}
    return save_lora(directory, classifier(classes), ENCODER_ID, seed, **settings)


def tagger(classes: int) -> BertForTokenClassification:
    """The tiny BERT, and a classifier of tokens."""
    model = BertForTokenClassification(bert_config(num_labels=classes)).eval()
    model.bert.load_state_dict(tiny_bert().state_dict(), strict=False)
    return model


def save_tagger(directory: Path, classes: int, seed: int, **settings) -> PeftModel:
    """An adapter with a head of its own, as PEFT makes it for this task type."""
    settings = {"task_type": "TOKEN_CLS", "target_modules": ["query", "value"]} | settings
    return save_lora(directory, tagger(classes), ENCODER_ID, seed, **settings)


def save_sight(directory: Path, classes: int, seed: int) -> PeftModel:
    """An adapter of an image model, with a head of its own."""
    settings = {"target_modules": ["q_proj", "v_proj"], "modules_to_save": ["classifier"]}
    return save_lora(directory, viewer(classes), IMAGE_ID, seed, **settings)


def save_viewer(directory: Path, seed: int) -> PeftModel:
    """An adapter of an image model without a head."""
    return save_lora(directory, tiny_vit(), IMAGE_ID, seed, target_modules=["q_proj", "v_proj"])
