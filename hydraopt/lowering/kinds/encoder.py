"""Text encoders such as BERT and MiniLM: embeddings, text or token classification."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import ModelOutput

from ...adapters import FEATURES, SEQ_CLS, TOKEN_CLS
from ...errors import LoweringError, require
from ...formats.models import ENCODER as NAME
from ...formats.models import Pooling
from ...models import context_length
from ..attention import some_text
from ..program import export_module
from ..settings import DEFAULT_LENGTH, ExportSettings, text_length
from ..simplify import delegate_norms
from .kind import ChatArguments, FactorInputs, Kind, Probe, is_classifier, load_eager
from .masks import exercising, key_mask, takes_key_mask
from .pooling import pooled
from .sentence import read_sentence, sentence_of
from .texts import BEYOND, SHORT, long_limit

HEADS, POOLER = ("classifier.", "score."), ("pooler.",)  # layers that a program may not use
TRACED = 4  # tokens of the traced text
AUTO = {  # task type -> class of transformers
    FEATURES: AutoModel,
    SEQ_CLS: AutoModelForSequenceClassification,
    TOKEN_CLS: AutoModelForTokenClassification,
}
SAVED = {SEQ_CLS: "ForSequenceClassification", TOKEN_CLS: "ForTokenClassification"}


class Encoder(Kind):
    """Text encoders, and language models used as encoders."""

    name = NAME

    def load(
        self, source: str, config: PretrainedConfig, task_type: str | None, heads: bool
    ) -> PreTrainedModel:
        """As :meth:`.Kind.load`, with the settings of sentence-transformers."""
        gives = _gives(config, task_type, heads)
        unneeded = HEADS if heads else POOLER if gives == FEATURES else ()
        model = load_eager(AUTO[gives], source, config, *unneeded)
        if gives == FEATURES:
            model.sentence = read_sentence(source)
        return model

    def resolve(self, settings: ExportSettings, model: PreTrainedModel) -> ExportSettings:
        """As :meth:`.Kind.resolve`; encoders have no prefill and keep their own attention."""
        if settings.prefill_length is not None:
            raise LoweringError(
                "an encoder reads a text at once; leave prefill_length out",
                options=["prefill_length"],
            )
        limit = _positions(model)
        if settings.max_length is None:
            limit = min(limit, sentence_of(model).max_length or limit)
        return replace(
            settings,
            embedding=settings.embedding_or_default,
            attention=None,
            max_length=text_length(limit, settings.max_length),
        )

    def restructure(
        self, model: PreTrainedModel, settings: ExportSettings
    ) -> Callable[[FactorInputs], nn.Module]:
        """As :meth:`.Kind.restructure`."""
        model.config.use_cache = False  # for language models
        by_key = takes_key_mask(model, require(settings.max_length, "max length"))
        delegate_norms(model)
        return partial(EncoderModule, model, by_key)

    def export(
        self, module: nn.Module, shapes: Mapping[str, Sequence[int]], settings: ExportSettings
    ) -> torch.export.ExportedProgram:
        """As :meth:`.Kind.export`, for texts of 1 to ``settings.max_length`` tokens."""
        length = torch.export.Dim("sequence", min=1, max=settings.max_length)
        arguments = (torch.zeros(1, TRACED, dtype=torch.int64), torch.ones(1, TRACED).long())
        dynamic = {"input_ids": {1: length}, "attention_mask": {1: length}}
        return export_module(module, arguments, dynamic, shapes)

    def describe(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None,
        arguments: ChatArguments,
    ) -> dict[str, Any]:
        """Return ``per_token`` for classifiers, and the pooling for embeddings."""
        name, sentence = type(model).__name__, sentence_of(model)
        if name.endswith(tuple(SAVED.values())):
            return {"per_token": name.endswith(SAVED[TOKEN_CLS])}
        return {"pooling": Pooling(sentence.pooling, sentence.normalized, sentence.prompt)}

    def probes(self, model: PreTrainedModel, settings: ExportSettings) -> Sequence[Probe]:
        """Return a text longer than the model's windows."""
        most = require(settings.max_length, "max length")
        limit = long_limit(model.config, most) or 0
        length = min(most, max(limit + BEYOND, SHORT, exercising(model, most)))
        return [Probe(f"a text of {length} tokens", some_text(model, length))]

    def reference(self, model: PreTrainedModel, probe: Probe) -> torch.Tensor:
        """As :meth:`.Kind.reference`, ``[1, d]``, ``[1, classes]`` or ``[S, classes]``."""
        mask = torch.ones_like(probe.inputs)
        found = model(input_ids=probe.inputs, attention_mask=mask)
        return _output(model, found, mask.float()).flatten(0, -2)

    def outputs(self, module: nn.Module, probe: Probe, factors: FactorInputs) -> torch.Tensor:
        """As :meth:`reference`."""
        return module(probe.inputs, torch.ones_like(probe.inputs), factors).flatten(0, -2)


class EncoderModule(nn.Module):
    """``forward(input_ids [1, S], attention_mask [1, S], factors)``.

    The output is logits if the model has a classifier, ``[1, classes]`` or of every token
    ``[1, S, classes]``, else an embedding ``[1, d]`` pooled from the hidden states.

    Args:
        model: the restructured base.
        by_key: whether its layers take :func:`.masks.key_mask`.
        inputs: dict that the slots read, see :func:`~hydraopt.lowering.slots.insert_slots`.
    """

    def __init__(self, model: PreTrainedModel, by_key: bool, inputs: FactorInputs):
        super().__init__()
        self.model, self.by_key, self.inputs = model, by_key, inputs

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        factors: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        """Run one text; ``factors`` are the factor inputs by name."""
        self.inputs.update(factors)
        seen = attention_mask.to(torch.float32)
        mask = key_mask(seen) if self.by_key else attention_mask
        return _output(self.model, self.model(input_ids=input_ids, attention_mask=mask), seen)


def _output(model: PreTrainedModel, found: ModelOutput, mask: torch.Tensor) -> torch.Tensor:
    """Return logits, or the embedding of a text with mask ``[1, S]`` float32."""
    if "logits" in found:
        return found.logits
    sentence = sentence_of(model)
    embedding = pooled(sentence.pooling, found.last_hidden_state, mask)
    return F.normalize(embedding) if sentence.normalized else embedding


def _gives(config: PretrainedConfig, task_type: str | None, heads: bool) -> str:
    """Return the task type of the outputs: the adapters', or the one the base was saved for."""
    if task_type in AUTO and not (heads and task_type == FEATURES):
        return require(task_type, "task type")
    saved = [kind for kind, suffix in SAVED.items() if is_classifier(config, suffix)]
    return saved[0] if saved else SEQ_CLS if heads else FEATURES


def _positions(model: PreTrainedModel) -> int:
    """Return the longest text in tokens; RoBERTa numbers positions after its padding index."""
    for name, layer in model.named_modules():
        if name.endswith("position_embeddings") and getattr(layer, "padding_idx", None) is not None:
            return layer.num_embeddings - layer.padding_idx - 1
    return context_length(model, DEFAULT_LENGTH)
