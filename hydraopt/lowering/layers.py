"""Where adapters' layers lie in a base model that becomes a program."""

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
    """Where the layers of adapters are in their base, see :func:`.fitting.places`.

    Args:
        base: as it was loaded.
        settings: of the export, resolved.
        shapes: module -> ``(out, in)`` of the adapters.
        weights: what the base must be equal in.

    Raises:
        LoweringError: a base that does not fit the adapters.
    """

    def run(model: PreTrainedModel) -> torch.Tensor:
        return base.kind.reference(model, base.kind.probes(model, settings)[0])

    check_base_weights(base.model, weights, LoweringError)
    return places(base.model, shapes, run, LoweringError)


def linear_layer(model: nn.Module, name: str, shape: tuple[int, int]) -> nn.Linear:
    """:func:`.base_layers.linear_layer` of a base that may be restructured already."""
    return base_layers.linear_layer(model, name, shape, LoweringError, place(model, name))


def check_head(model: nn.Module, name: str, width: int) -> None:
    """:func:`.base_layers.check_head` of a base that may be restructured already."""
    base_layers.check_head(model, name, width, LoweringError, place(model, name))


def place(model: nn.Module, name: str) -> str:
    """Where a layer lies in a model: inside what applies the last one to one position only."""
    layer = dict(model.named_modules()).get(name)
    return f"{name}.head" if isinstance(layer, LastPosition) else name
