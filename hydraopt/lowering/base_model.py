"""Loading the base model."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from ..errors import LoweringError
from ..models import end_tokens


@dataclass(frozen=True)
class BaseModel:
    """A causal LM in float32 and what the bundle must know of it."""

    model: PreTrainedModel
    config_sha256: str
    eos_ids: tuple[int, ...]
    vocabulary: int


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
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise LoweringError(f"cannot load base model {source!r} ({reason})") from error
    config = model.config.to_json_string().encode()
    vocabulary = model.get_input_embeddings().num_embeddings
    return BaseModel(model, hashlib.sha256(config).hexdigest(), end_tokens(model), vocabulary)
