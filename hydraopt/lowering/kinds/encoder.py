"""Text encoders such as BERT and MiniLM: sentence embeddings, or classes of a text."""

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
    PretrainedConfig,
    PreTrainedModel,
)

from ...adapters import SEQ_CLS
from ...errors import LoweringError, known
from ...formats.manifest import ENCODER as NAME
from ...models import context_length
from ..attention import MASKED
from ..form import DEFAULT_LENGTH, Form, text_length
from ..program import export_module
from .kind import Inputs, Kind, Probe, is_classifier, load_eager
from .texts import BEYOND, SHORT, long_limit, text

HEAD, POOLER = "classifier.", "pooler."  # layers that a program may have no use for
TRACED = 4  # tokens of the text that the export traces


class Encoder(nn.Module):
    """``forward(input_ids [1, S], attention_mask [1, S], factors) -> [1, d]`` or ``[1, classes]``.

    The output is the logits of a model with a classifier; of one without, the mean of the hidden
    states where the mask is 1, of length 1.

    Args:
        model: the base, restructured.
        inputs: the dict that the slots read, see :func:`~hydraopt.lowering.slots.insert_slots`.
    """

    def __init__(self, model: PreTrainedModel, inputs: Inputs):
        super().__init__()
        self.model, self.inputs = model, inputs

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        factors: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        """One text; ``factors`` are the factor inputs by name."""
        self.inputs.update(factors)
        seen = attention_mask.to(torch.float32)
        # as it is added to the scores: transformers would look into a mask of ones and zeros
        mask = (1 - seen)[:, None, None] * MASKED
        found = self.model(input_ids=input_ids, attention_mask=mask)
        if "logits" in found:
            return found.logits
        weights = (seen / seen.sum(1, keepdim=True))[:, None]
        return F.normalize(torch.bmm(weights, found.last_hidden_state)[:, 0])


def _load(
    source: str, config: PretrainedConfig, task_type: str | None, heads: bool
) -> PreTrainedModel:
    classifies = heads or task_type == SEQ_CLS or is_classifier(config, "ForSequenceClassification")
    make = AutoModelForSequenceClassification if classifies else AutoModel
    unneeded = [HEAD] if heads else [] if classifies else [POOLER]
    return load_eager(make, source, config, *unneeded)


def _resolved(form: Form, model: PreTrainedModel) -> Form:
    if form.prefill_length is not None:
        raise LoweringError("an encoder reads a text at once; leave --prefill-length out")
    return replace(
        form,
        embedding=form.embedding or ("none" if form.quantize == "none" else "4w"),
        attention=None,
        max_length=text_length(_positions(model), form.max_length),
    )


def _positions(model: PreTrainedModel) -> int:
    """Tokens of the longest text; RoBERTa and its like count them from behind a padding's row."""
    for name, layer in model.named_modules():
        if name.endswith("position_embeddings") and getattr(layer, "padding_idx", None) is not None:
            return layer.num_embeddings - layer.padding_idx - 1
    return context_length(model, DEFAULT_LENGTH)


def _restructured(model: PreTrainedModel, form: Form) -> Callable[[Inputs], nn.Module]:
    return partial(Encoder, model)


def _export(
    module: nn.Module, shapes: Mapping[str, Sequence[int]], form: Form
) -> torch.export.ExportedProgram:
    length = torch.export.Dim("sequence", min=1, max=form.max_length)
    arguments = (torch.zeros(1, TRACED, dtype=torch.int64), torch.ones(1, TRACED).long())
    dynamic = {"input_ids": {1: length}, "attention_mask": {1: length}}
    return export_module(module, arguments, dynamic, shapes)


def _describe(*_: object) -> dict[str, Any]:
    return {}


def _probes(model: PreTrainedModel, form: Form) -> Sequence[Probe]:
    most = known(form.max_length, "max length")
    limit = long_limit(model.config, most) or 0
    length = min(most, max(limit + BEYOND, SHORT))
    return [Probe(f"a text of {length} tokens", text(model, length))]


def _wanted(model: PreTrainedModel, probe: Probe) -> torch.Tensor:
    """``[1, d]`` or ``[1, classes]``."""
    found = model(input_ids=probe.inputs, attention_mask=torch.ones_like(probe.inputs))
    return found.logits if "logits" in found else F.normalize(found.last_hidden_state.mean(1))


def _found(module: nn.Module, probe: Probe, factors: Inputs) -> torch.Tensor:
    return module(probe.inputs, torch.ones_like(probe.inputs), factors)


ENCODER = Kind(
    NAME, False, _load, _resolved, _restructured, _export, _describe, _probes, _wanted, _found
)
