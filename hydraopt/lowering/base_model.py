"""Loading and quantising the base model."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
from torchao.quantization.granularity import PerGroup
from torchao.utils import unwrap_tensor_subclass
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from ..errors import LoweringError
from ..models import end_tokens

QUANTIZE = ("none", "8da4w")
GROUP = 32


@dataclass(frozen=True)
class BaseModel:
    """A causal LM in float32 and what the bundle must know of it."""

    model: PreTrainedModel
    config_sha256: str
    eos_ids: tuple[int, ...]


def load_base(source: str, trained_on: str) -> BaseModel:
    """Load a causal LM from a directory or a hub id.

    Args:
        source: directory or hub id.
        trained_on: the base model that the adapters name.

    Raises:
        LoweringError: ``source`` cannot be loaded, or is a hub id other than ``trained_on``.
    """
    if not Path(source).is_dir() and source != trained_on:
        raise LoweringError(
            f"base model {source!r} is neither a directory nor {trained_on!r}, on which the "
            "adapters were trained; pass that id or a directory that holds it"
        )
    transformers_logging.disable_progress_bar()
    try:
        # eager attention: sdpa's guard against fully masked rows lowers to portable operators
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32, attn_implementation="eager"
        ).eval()
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise LoweringError(f"cannot load base model {source!r} ({reason})") from error
    config = model.config.to_json_string().encode()
    return BaseModel(model, hashlib.sha256(config).hexdigest(), end_tokens(model))


def quantize_base(model: nn.Module, scheme: str) -> None:
    """Quantise all linear layers in place; factors are no linear layers and stay float32.

    ``8da4w`` is ExecuTorch's name for int4 weights in groups of 32 with int8 dynamic activations.

    Raises:
        LoweringError: unknown scheme, or a layer whose input is no multiple of the group.
    """
    if scheme not in QUANTIZE:
        raise LoweringError(f"unknown quantisation {scheme!r}, expected {' or '.join(QUANTIZE)}")
    if scheme == "none":
        return
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module.in_features % GROUP:
            raise LoweringError(
                f"{name} has {module.in_features} inputs, expected a multiple of {GROUP} for "
                "8da4w; export with --quantize none"
            )
    quantize_(
        model,
        Int8DynamicActivationIntxWeightConfig(
            weight_dtype=torch.int4, weight_granularity=PerGroup(GROUP)
        ),
    )
    unwrap_tensor_subclass(model)
