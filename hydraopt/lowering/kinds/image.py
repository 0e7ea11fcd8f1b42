"""Image models such as ViT, with a classifier or pooled features."""

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
    PreTrainedTokenizerBase,
)
from transformers.utils import ModelOutput

from ...adapters import SEQ_CLS
from ...errors import LoweringError
from ...formats.models import IMAGE as NAME
from ..program import export_module
from ..settings import ExportSettings
from .kind import ChatArguments, FactorInputs, Kind, Probe, is_classifier, load_eager
from .preprocessing import read_preprocessing


class ImageModel(Kind):
    """Image models such as ViT."""

    name = NAME

    def load(
        self, source: str, config: PretrainedConfig, task_type: str | None, heads: bool
    ) -> PreTrainedModel:
        """As :meth:`.Kind.load`."""
        saved = is_classifier(config, "ForImageClassification")
        classifies = heads or task_type == SEQ_CLS or saved
        make = AutoModelForImageClassification if classifies else AutoModel
        model = load_eager(make, source, config, *(["classifier."] if heads else []))
        model.preprocessing = read_preprocessing(source, image_shape(config))
        return model

    def resolve(self, settings: ExportSettings, model: PreTrainedModel) -> ExportSettings:
        """As :meth:`.Kind.resolve`; settings of tokens are refused."""
        for option in ("max_length", "prefill_length", "embedding"):
            if getattr(settings, option) not in (None, "none"):
                raise LoweringError(
                    f"an image model reads no tokens; leave {option} out", options=[option]
                )
        return replace(settings, embedding=None, attention=None)

    def restructure(
        self, model: PreTrainedModel, settings: ExportSettings
    ) -> Callable[[FactorInputs], nn.Module]:
        """As :meth:`.Kind.restructure`; the model needs no changes."""
        return partial(ImageModule, model)

    def export(
        self, module: nn.Module, shapes: Mapping[str, Sequence[int]], settings: ExportSettings
    ) -> torch.export.ExportedProgram:
        """As :meth:`.Kind.export`, for images of one size."""
        example = torch.zeros(1, *image_shape(module.model.config))
        return export_module(module, (example,), {"pixel_values": None}, shapes)

    def describe(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None,
        arguments: ChatArguments,
    ) -> dict[str, Any]:
        """Return the shape of an image, and how pictures become one."""
        steps = vars(model).get("preprocessing")
        return {"shape": image_shape(model.config), "preprocessing": steps}

    def probes(self, model: PreTrainedModel, settings: ExportSettings) -> Sequence[Probe]:
        """Return an image of noise."""
        generator = torch.Generator().manual_seed(0)
        return [Probe("an image", torch.rand(1, *image_shape(model.config), generator=generator))]

    def reference(self, model: PreTrainedModel, probe: Probe) -> torch.Tensor:
        """As :meth:`.Kind.reference`, ``[1, d]`` or ``[1, classes]``."""
        return features(model(pixel_values=probe.inputs))

    def outputs(self, module: nn.Module, probe: Probe, factors: FactorInputs) -> torch.Tensor:
        """As :meth:`reference`."""
        return module(probe.inputs, factors)


class ImageModule(nn.Module):
    """``forward(pixel_values [1, C, H, W], factors) -> [1, classes]`` or ``[1, d]``.

    The output is logits if the model has a classifier, else its pooled features or, without a
    pooler, the first hidden state, which is ViT's class token.

    Args:
        model: the restructured base.
        inputs: dict that the slots read, see :func:`~hydraopt.lowering.slots.insert_slots`.
    """

    def __init__(self, model: PreTrainedModel, inputs: FactorInputs):
        super().__init__()
        self.model, self.inputs = model, inputs

    def forward(self, pixel_values: torch.Tensor, factors: dict[str, torch.Tensor]) -> torch.Tensor:
        """Run one image, float32; ``factors`` are the factor inputs by name."""
        self.inputs.update(factors)
        return features(self.model(pixel_values=pixel_values))


def features(found: ModelOutput) -> torch.Tensor:
    """Return logits, pooled features, or the first hidden state, ``[1, n]``."""
    if "logits" in found:
        return found.logits
    pooled = found.pooler_output
    return found.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)


def image_shape(config: PretrainedConfig) -> tuple[int, int, int]:
    """Return channels, height and width of a model's images.

    Raises:
        LoweringError: the configuration has no ``image_size``.
    """
    size = getattr(config, "image_size", None)
    if size is None:
        raise LoweringError(
            f"the configuration of this {config.model_type} model names no image_size, expected "
            "one: a program takes images of one size; add it to its config.json"
        )
    height, width = (size, size) if isinstance(size, int) else size
    return getattr(config, "num_channels", 3), height, width
