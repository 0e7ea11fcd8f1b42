"""Causal language models; the KV cache is part of the program."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ...bases.weights import check_dense, load_whole
from ...errors import require
from ...formats.models import CAUSAL_LM as NAME
from ...hooks import input_changed
from ...models import context_length, end_tokens
from ...native_log import native_log
from ..attention import clear_caches
from ..chat import read_chat
from ..decoder import Decoder, restructure
from ..program import export_forward
from ..settings import (
    DEFAULT_LENGTH,
    SHORTEST_CALL,
    ExportSettings,
    check_length,
    text_length,
)
from ..tokenizer import stop_tokens
from .kind import ChatArguments, FactorInputs, Kind, Probe
from .texts import first_layers, long_text, short_text

DEFAULT_PREFILL = 128
SHORTEST = 8  # positions of the KV cache


class CausalLM(Kind):
    """Causal language models; the KV cache is part of the program."""

    name = NAME
    generates = True

    def load(
        self, source: str, config: PretrainedConfig, task_type: str | None, heads: bool
    ) -> PreTrainedModel:
        """As :meth:`.Kind.load`; classifiers were refused before."""
        check_dense(AutoModelForCausalLM, config)
        return load_whole(AutoModelForCausalLM, source, config)

    def resolve(self, settings: ExportSettings, model: PreTrainedModel) -> ExportSettings:
        """As :meth:`.Kind.resolve`."""
        limit = _one_rope(model, context_length(model, DEFAULT_LENGTH))
        max_length = text_length(limit, settings.max_length, SHORTEST)
        return replace(
            settings,
            embedding=settings.embedding_or_default,
            max_length=max_length,
            prefill_length=_call_length(max_length, settings.prefill_length),
        )

    def restructure(
        self, model: PreTrainedModel, settings: ExportSettings
    ) -> Callable[[FactorInputs], nn.Module]:
        """As :meth:`.Kind.restructure`."""
        call = restructure(model, settings)
        return partial(Decoder, model, call, require(settings.max_length, "max length"))

    def export(
        self, module: nn.Module, shapes: Mapping[str, Sequence[int]], settings: ExportSettings
    ) -> torch.export.ExportedProgram:
        """As :meth:`.Kind.export`, for calls of 1 to ``settings.prefill_length`` tokens."""
        return export_forward(module, shapes, require(settings.prefill_length, "prefill length"))

    def describe(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None,
        arguments: ChatArguments,
    ) -> dict[str, Any]:
        """Return the tokens that end a generation, and the chat template."""
        chat, turn_end = read_chat(tokenizer, arguments)
        return {"eos_ids": stop_tokens(tokenizer, end_tokens(model), turn_end), "chat": chat}

    def probes(self, model: PreTrainedModel, settings: ExportSettings) -> Sequence[Probe]:
        """Return a short text and, if length matters, a long one."""
        most = require(settings.max_length, "max length")
        piece = require(settings.prefill_length, "prefill length")
        short, long = short_text(model, piece), long_text(model, most, piece)
        return [short, long] if long else [short]

    def reference(self, model: PreTrainedModel, probe: Probe) -> torch.Tensor:
        """Run the whole text without a cache; logits at the calls' ends, ``[n, vocabulary]``."""
        ends = torch.tensor([end - 1 for split in probe.splits for end in split])
        head = model.get_output_embeddings()
        with first_layers(model, probe.layers), input_changed(head, lambda x: x[:, ends]):
            return model(input_ids=probe.inputs, use_cache=False).logits[0]

    def outputs(self, module: nn.Module, probe: Probe, factors: FactorInputs) -> torch.Tensor:
        """Run the text call by call, then clear the caches; logits ``[n, vocabulary]``."""
        logits = []
        with first_layers(module.model, probe.layers), native_log():
            for split in probe.splits:
                for start, end in pairwise((0, *split)):
                    positions = torch.arange(start, end)
                    logits.append(module(probe.inputs[:, start:end], positions, factors)[0])
        clear_caches(module.model)
        return torch.cat(logits)


def _one_rope(model: PreTrainedModel, limit: int) -> int:
    """Cap ``limit`` where a longrope changes its factors: a program has only one set."""
    rope = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    if rope.get("rope_type") != "longrope":
        return limit
    return min(limit, rope.get("original_max_position_embeddings", limit))


def _call_length(max_length: int, prefill_length: int | None) -> int:
    """Return ``prefill_length``, by default 128 or ``max_length - 1``, whichever is smaller."""
    limit = max_length - 1
    whose = "one less than the positions of the KV cache"
    if prefill_length is None:
        return min(limit, DEFAULT_PREFILL)
    return check_length("prefill_length", prefill_length, SHORTEST_CALL, limit, whose)
