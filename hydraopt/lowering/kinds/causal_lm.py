"""Language models that continue a text; the KV cache is part of the program."""

from collections.abc import Callable, Mapping, Sequence
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
from ...errors import known
from ...formats.manifest import CAUSAL_LM as NAME
from ...hooks import input_changed
from ...models import end_tokens
from ...native_log import native_log
from ..attention import clear_caches
from ..chat import read_chat
from ..decoder import Decoder, restructure
from ..program import export_forward
from ..settings import ExportSettings
from ..tokenizer import stop_tokens
from .kind import ChatArguments, Inputs, Kind, Probe
from .texts import first_layers, long_text, short_text


def _load(
    source: str, config: PretrainedConfig, task_type: str | None, heads: bool
) -> PreTrainedModel:
    check_dense(AutoModelForCausalLM, config)
    return load_whole(AutoModelForCausalLM, source, config)


def _restructured(
    model: PreTrainedModel, settings: ExportSettings
) -> Callable[[Inputs], nn.Module]:
    return partial(
        Decoder, model, restructure(model, settings), known(settings.max_length, "max length")
    )


def _export(
    module: nn.Module, shapes: Mapping[str, Sequence[int]], settings: ExportSettings
) -> torch.export.ExportedProgram:
    return export_forward(module, shapes, known(settings.prefill_length, "prefill length"))


def _describe(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, arguments: ChatArguments
) -> dict[str, Any]:
    chat, turn_end = read_chat(tokenizer, arguments)
    return {"eos_ids": stop_tokens(tokenizer, end_tokens(model), turn_end), "chat": chat}


def _probes(model: PreTrainedModel, settings: ExportSettings) -> Sequence[Probe]:
    most = known(settings.max_length, "max length")
    piece = known(settings.prefill_length, "prefill length")
    short, long = short_text(model, piece), long_text(model, most, piece)
    return [short, long] if long else [short]


def _wanted(model: PreTrainedModel, probe: Probe) -> torch.Tensor:
    """Logits at all ends of calls, ``[n, vocabulary]``, of the text as a whole without a cache."""
    ends = torch.tensor([end - 1 for split in probe.splits for end in split])
    head = model.get_output_embeddings()
    with first_layers(model, probe.layers), input_changed(head, lambda x: x[:, ends]):
        return model(input_ids=probe.inputs, use_cache=False).logits[0]


def _found(module: nn.Module, probe: Probe, factors: Inputs) -> torch.Tensor:
    """The same, ``[n, vocabulary]``, in calls; the caches are empty afterwards."""
    logits = []
    with first_layers(module.model, probe.layers), native_log():
        for split in probe.splits:
            for start, end in pairwise((0, *split)):
                positions = torch.arange(start, end)
                logits.append(module(probe.inputs[:, start:end], positions, factors)[0])
    clear_caches(module.model)
    return torch.cat(logits)


CAUSAL_LM = Kind(
    NAME,
    True,
    _load,
    ExportSettings.resolved,
    _restructured,
    _export,
    _describe,
    _probes,
    _wanted,
    _found,
)
