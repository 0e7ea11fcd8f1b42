"""Language models that continue a text; the KV cache is part of the program."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ...errors import known
from ...formats.manifest import CAUSAL_LM as NAME
from ...models import end_tokens
from ..decoder import Decoder, restructure
from ..form import Form
from ..program import export_forward
from ..tokenizer import chat_of, stop_tokens
from .kind import Inputs, Kind


def _load(source: str, _: PretrainedConfig, task_type: str | None, heads: bool) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()


def _restructured(model: PreTrainedModel, form: Form) -> Callable[[Inputs], nn.Module]:
    return partial(Decoder, model, restructure(model, form), known(form.max_length, "max length"))


def _export(
    module: nn.Module, shapes: Mapping[str, Sequence[int]], form: Form
) -> torch.export.ExportedProgram:
    return export_forward(module, shapes, known(form.prefill_length, "prefill length"))


def _describe(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> dict[str, Any]:
    return {
        "eos_ids": stop_tokens(tokenizer, end_tokens(model)),
        "chat": chat_of(tokenizer),
    }


CAUSAL_LM = Kind(NAME, True, _load, Form.resolved, _restructured, _export, _describe)
