"""Loading the base model."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from ..errors import LoweringError
from ..models import end_tokens
from .form import Form
from .metadata import Metadatum, runner_metadata
from .tokenizer import load_tokenizer, stop_tokens


@dataclass(frozen=True)
class BaseModel:
    """A causal LM in float32 and what the bundle must know of it.

    Attributes:
        model: the model.
        tokenizer: its fast tokenizer; None if it has none.
        config_sha256: hash of its ``config.json`` content.
        eos_ids: tokens that end a generation, see :func:`.tokenizer.stop_tokens`.
        vocabulary: number of token ids.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    config_sha256: str
    eos_ids: tuple[int, ...]
    vocabulary: int

    def metadata(self, form: Form) -> Mapping[str, Metadatum]:
        """What its program in a resolved form tells ExecuTorch's LLM runners."""
        begin = self.tokenizer and self.tokenizer.bos_token_id
        return runner_metadata(form, self.vocabulary, self.eos_ids, begin)


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
    tokenizer = load_tokenizer(source)
    ends = stop_tokens(tokenizer, end_tokens(model))
    return BaseModel(model, tokenizer, hashlib.sha256(config).hexdigest(), ends, vocabulary)
