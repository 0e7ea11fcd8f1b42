"""Load a base model with what the manifest states about it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from ..adapters import check_task_type
from ..bases.config import base_config
from ..errors import LoweringError, UsageError, require
from ..models import loading_base
from ..reading import shortened
from .kinds import Kind, kind_of
from .kinds.kind import ChatArguments
from .kinds.sentence import sentence_of
from .metadata import NO_METADATA, Metadatum, runner_metadata
from .settings import ExportSettings
from .tokenizer import load_tokenizer


@dataclass(frozen=True)
class BaseModel:
    """A base model in float32.

    Attributes:
        model: the model.
        kind: its kind.
        tokenizer: its fast tokenizer; None for image models and without one.
        config_sha256: hash of its configuration.
        vocabulary: number of token ids; None for image models.
        about: fields of the manifest that depend on the kind.
    """

    model: PreTrainedModel
    kind: Kind
    tokenizer: PreTrainedTokenizerBase | None
    config_sha256: str
    vocabulary: int | None
    about: Mapping[str, Any]

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Tokens that end a generation, see :func:`.tokenizer.stop_tokens`; may be empty."""
        return self.about.get("eos_ids", ())

    def metadata(self, settings: ExportSettings) -> Mapping[str, Metadatum]:
        """Return the metadata for ExecuTorch's LLM runners; ``settings`` are resolved."""
        if not self.kind.generates:
            return NO_METADATA
        begin = self.tokenizer and self.tokenizer.bos_token_id
        vocabulary = require(self.vocabulary, "vocabulary")
        return runner_metadata(settings, vocabulary, self.eos_ids, begin)


def load_base(
    source: str,
    trained_on: str,
    task_type: str | None = None,
    *,
    heads: bool = False,
    chat_arguments: ChatArguments | None = None,
) -> BaseModel:
    """Load a base model from a directory or a hub id.

    Args:
        source: directory or hub id.
        trained_on: the base model that the adapters name.
        task_type: PEFT task type of the adapters; None if unknown.
        heads: whether the tasks have classifiers of their own.
        chat_arguments: variables of the chat template by name.

    Raises:
        UsageError: the chat template has no such variables.
        LoweringError: ``source`` cannot be loaded, is a hub id other than ``trained_on``, or is of
            a kind that does not fit the task type or the classifiers.
    """
    if not Path(source).is_dir() and source != trained_on:
        raise LoweringError(
            f"base model {shortened(source)!r} is neither a directory nor "
            f"{shortened(trained_on)!r}, on which the adapters were trained; pass that id or a "
            "directory that holds it"
        )
    transformers_logging.disable_progress_bar()
    with loading_base(source, LoweringError):
        stored = base_config(source)
        kind = kind_of(stored, task_type)
        check_task_type(task_type, kind.name, LoweringError)
        if heads and kind.generates:
            raise LoweringError(
                f"base model {source!r} is a {kind.name}, which takes no classifiers, but the "
                "adapters have some; pass the base model that they were trained on"
            )
        if chat_arguments and not kind.generates:
            raise UsageError(
                f"variables of a chat template are for models that write; base model {source!r} "
                f"is an {kind.name}; leave them out",
                options=["chat_template_arg"],
            )
        model = kind.load(source, stored, task_type, heads)
        vocabulary = getattr(model.get_input_embeddings(), "num_embeddings", None)
        lower_case = sentence_of(model).lower_case
        tokenizer = None if vocabulary is None else load_tokenizer(source, lower_case=lower_case)
    config = model.config.to_json_string().encode()
    about = kind.describe(model, tokenizer, chat_arguments or {})
    return BaseModel(model, kind, tokenizer, hashlib.sha256(config).hexdigest(), vocabulary, about)
