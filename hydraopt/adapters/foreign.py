"""Recognise directories and tensors that are not plain PEFT LoRA, and name the next step."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple


class Found(NamedTuple):
    """What was recognised, and the next step for the user."""

    what: str
    step: str


PLAIN = "train a plain LoRA adapter"
CONVERT = "convert it to LoRA with peft.save_as_lora"
PROMPTS = Found("trains a prompt and changes no layer", PLAIN)
MLX = Found(
    "an MLX adapter, which has other names and another scale",
    "convert it to PEFT's format, or train it with PEFT",
)
DIFFUSERS = Found("a LoRA of an image generator", "pass adapters of a model that transformers runs")

PEFT_TYPES = {
    **dict.fromkeys(
        ("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT"), PROMPTS
    ),
    **dict.fromkeys(
        ("LOHA", "LOKR", "HIRA", "VERA", "SHIRA", "MISS", "FOURIERFT", "RANDLORA", "C3A"),
        Found("is not LoRA", CONVERT),
    ),
}
KEYS = {  # pattern of a tensor's name -> what it is; the first match counts
    r"\.lora_magnitude_vector\b": Found("DoRA", "train it without use_dora"),
    r"\.lora_embedding_[AB]\b": Found(
        "LoRA of an embedding", "train it without the embedding in target_modules"
    ),
    r"\.lora_[AB](\.\w+)?\.bias$": Found("a bias on B", "train it without lora_bias"),
    r"\.lora_E\b": Found("AdaLoRA", PLAIN),
    r"\.hada_|\.lokr_": Found("LoHa or LoKr", CONVERT),
    r"\.lora_[ab]$": MLX,
    r"^prompt_embeddings$": PROMPTS,
    r"^lora_(unet|te\d?)_|\.lora_(down|up)\.|^(unet|text_encoder)\.": DIFFUSERS,
    r"\.modules_to_save\.|\.original_module\.": Found(
        "a layer that is trained in full, and its original", "save it with save_pretrained"
    ),
}
FILES = {  # file in a directory without adapter_config.json -> what it is
    "sparse.json": Found(
        "a sparse adapter",
        "pass it to `hydraopt sparse merge`, or make a LoRA of it with `hydraopt sparse project`",
    ),
    "adapters.safetensors": MLX,
    "pytorch_lora_weights.safetensors": DIFFUSERS,
    "config.json": Found("a whole model", "pass the directory of an adapter"),
    "adapters.json": Found("merged or compressed adapters", "pass adapters as they were trained"),
}


def foreign_tensor(keys: Collection[str]) -> tuple[str, Found] | None:
    """Return the first tensor name that belongs to another type of adapter, and that type."""
    matches = (
        (key, found) for pattern, found in KEYS.items() for key in keys if re.search(pattern, key)
    )
    return next(matches, None)


def foreign_config(config: Mapping[str, object]) -> Found:
    """Describe a configuration that is not LoRA's, as a suffix to its ``peft_type``."""
    if {"fine_tune_type", "lora_parameters"} & config.keys():
        return Found(f" of {MLX.what}", MLX.step)
    found = PEFT_TYPES.get(str(config.get("peft_type")))
    return Found(f", which {found.what}", found.step) if found else Found("", PLAIN)


def foreign_directory(directory: Path) -> Found | None:
    """Recognise a directory without ``adapter_config.json``; None if unknown."""
    found = next((x for name, x in FILES.items() if (directory / name).exists()), None)
    if found is None and (inside := next(directory.glob("*/adapter_config.json"), None)):
        return Found("a directory of adapters", f"pass one of them, such as {inside.parent}")
    return found
