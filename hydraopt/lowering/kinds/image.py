"""Image models such as ViT: classes of an image, or its features."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.utils import ModelOutput

from ...adapters import SEQ_CLS
from ...errors import LoweringError
from ...formats.manifest import IMAGE as NAME
from ..program import export_module
from ..settings import ExportSettings
from .kind import Inputs, Kind, Probe, is_classifier, load_eager


class ImageModel(nn.Module):
    """``forward(pixel_values [1, C, H, W], factors) -> [1, classes]`` or ``[1, d]``.

    The output is the logits of a model with a classifier; of one without, its pooled features, or
    the first hidden state, ViT's own summary, where it has no pooler.

    Args:
        model: the base, restructured.
        inputs: the dict that the slots read, see :func:`~hydraopt.lowering.slots.insert_slots`.
    """

    def __init__(self, model: PreTrainedModel, inputs: Inputs):
        super().__init__()
        self.model, self.inputs = model, inputs

    def forward(self, pixel_values: torch.Tensor, factors: dict[str, torch.Tensor]) -> torch.Tensor:
        """One image, float32; ``factors`` are the factor inputs by name."""
        self.inputs.update(factors)
        return features(self.model(pixel_values=pixel_values))


def features(found: ModelOutput) -> torch.Tensor:
    """Logits, pooled features, or the first hidden state, ``[1, n]``."""
    if "logits" in found:
        return found.logits
    pooled = found.pooler_output
    return found.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)


def image_shape(config: PretrainedConfig) -> tuple[int, int, int]:
    """Channels, height and width of the images that a model takes.

    Raises:
        LoweringError: the configuration does not say.
    """
    size = getattr(config, "image_size", None)
    if size is None:
        raise LoweringError(
            f"the configuration of this {config.model_type} model names no image_size, expected "
            "one: a program takes images of one size; add it to its config.json"
        )
    height, width = (size, size) if isinstance(size, int) else size
    return getattr(config, "num_channels", 3), height, width


def _load(
    source: str, config: PretrainedConfig, task_type: str | None, heads: bool
) -> PreTrainedModel:
    classifies = heads or task_type == SEQ_CLS or is_classifier(config, "ForImageClassification")
    make = AutoModelForImageClassification if classifies else AutoModel
    return load_eager(make, source, config, *(["classifier."] if heads else []))


def _resolved(settings: ExportSettings, model: PreTrainedModel) -> ExportSettings:
    for option in ("max_length", "prefill_length", "embedding"):
        if getattr(settings, option) not in (None, "none"):
            name = option.replace("_", "-")
            raise LoweringError(f"an image model reads no tokens; leave --{name} out")
    return replace(settings, embedding=None, attention=None)


def _restructured(
    model: PreTrainedModel, settings: ExportSettings
) -> Callable[[Inputs], nn.Module]:
    return partial(ImageModel, model)


def _export(
    module: nn.Module, shapes: Mapping[str, Sequence[int]], settings: ExportSettings
) -> torch.export.ExportedProgram:
    example = torch.zeros(1, *image_shape(module.model.config))
    return export_module(module, (example,), {"pixel_values": None}, shapes)


def _describe(model: PreTrainedModel, *_: object) -> dict[str, Any]:
    return {"image": image_shape(model.config)}


def _probes(model: PreTrainedModel, _: ExportSettings) -> Sequence[Probe]:
    pixels = torch.rand(1, *image_shape(model.config), generator=torch.Generator().manual_seed(0))
    return [Probe("an image", pixels)]


def _wanted(model: PreTrainedModel, probe: Probe) -> torch.Tensor:
    """``[1, d]`` or ``[1, classes]``."""
    return features(model(pixel_values=probe.inputs))


def _found(module: nn.Module, probe: Probe, factors: Inputs) -> torch.Tensor:
    return module(probe.inputs, factors)


IMAGE = Kind(
    NAME, False, _load, _resolved, _restructured, _export, _describe, _probes, _wanted, _found
)
