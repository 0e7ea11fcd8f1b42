"""Find adapted layers in a base model, before and after it is restructured."""

from collections.abc import Mapping

import torch
from torch import nn
from transformers import PreTrainedModel

from .. import base_layers
from ..adapters import BaseWeights
from ..errors import LoweringError
from ..factors import Places
from ..fitting import check_base_weights, places
from .base_model import BaseModel
from .decoder import LastPosition
from .settings import ExportSettings


def layer_places(
    base: BaseModel,
    settings: ExportSettings,
    shapes: Mapping[str, tuple[int, int]],
    weights: BaseWeights,
) -> Places:
    """Find the layers of adapters in their base, see :func:`.fitting.places`.

    Args:
        base: the base model, not restructured yet.
        settings: export settings, resolved.
        shapes: module -> ``(out, in)`` of the adapters.
        weights: copies of base weights to compare with the base.

    Raises:
        LoweringError: the base does not fit the adapters.
    """

    def run(model: PreTrainedModel) -> torch.Tensor:
        return base.kind.reference(model, base.kind.probes(model, settings)[0])

    check_base_weights(base.model, weights, LoweringError)
    return places(base.model, shapes, run, LoweringError)


def linear_layer(model: nn.Module, name: str, shape: tuple[int, int]) -> nn.Linear:
    """:func:`.base_layers.linear_layer` for a base that may be restructured."""
    return base_layers.linear_layer(model, name, shape, LoweringError, place(model, name))


def check_head(model: nn.Module, name: str, width: int) -> None:
    """:func:`.base_layers.check_head` for a base that may be restructured."""
    base_layers.check_head(model, name, width, LoweringError, place(model, name))


def place(model: nn.Module, name: str) -> str:
    """Return a layer's name in a model, where :class:`LastPosition` may wrap it."""
    layer = dict(model.named_modules()).get(name)
    return f"{name}.head" if isinstance(layer, LastPosition) else name
