"""Quantise a base: round the weights of its layers, then make quantised layers of them.

Weights are rounded in transformers' own model and keep their names, so that all later steps see the
numbers of the program; a layer holds integers, and computes its float32 weight at each use.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import nn
from transformers import PreTrainedModel

from ..errors import LoweringError
from ..formats.manifest import Calibration
from ..hooks import output_replaced
from ..progress import report_stage
from ..rounding import (
    IntegerWeight,
    clear_rounded,
    round_layers,
    round_nearest,
    set_rounded,
)
from ..schemes import Grid, Scheme, find_scheme
from .backends import find_backend
from .calibration_texts import CalibrationTexts, adapters_by_text
from .settings import ExportSettings
from .simplify import quantized_embedding
from .slots import set_rows


@dataclass(frozen=True)
class RoundedBase:
    """Integers of a base's layers.

    Attributes:
        weights: weight of each layer.
        embedding: layer that replaces the token embedding; None to keep it.
        calibration: what the weights were rounded for; None: least squared error.
    """

    weights: Mapping[nn.Linear, IntegerWeight] = field(default_factory=dict)
    embedding: nn.Module | None = None
    calibration: Calibration | None = None


def round_base(
    model: PreTrainedModel, settings: ExportSettings, texts: CalibrationTexts | None = None
) -> RoundedBase:
    """Round the weights of all linear layers in place, and quantise the embedding.

    Args:
        model: the base model, not restructured yet.
        settings: export settings, resolved.
        texts: what to calibrate with; None for the scales of least squared error.

    Raises:
        LoweringError: the backend does not support a scheme, a layer does not fit its groups, or an
            override names no layer.
    """
    report_stage("Rounding the base model")
    schemes = layer_schemes(model, settings)
    find_backend(settings.backend).check(schemes)
    grids = {layer: scheme.weights for layer, scheme in schemes.values() if scheme.weights}
    embedding = quantized_embedding(model, settings.embedding) if settings.embedding else None
    if texts is None or not grids:
        return RoundedBase(_without_data(grids), embedding)
    with ExitStack() as stack:
        stack.enter_context(adapters_by_text(model, texts.adapters, texts.tasks))
        if embedding is not None:
            stack.enter_context(output_replaced(model.get_input_embeddings(), embedding))
        head = model.get_output_embeddings()
        weights = round_layers(grids, texts.tokens, lambda: texts.run(model), head)
    return RoundedBase(weights, embedding, Calibration(texts.source, texts.tokens.tokens))


def _without_data(grids: Mapping[nn.Linear, Grid]) -> dict[nn.Linear, IntegerWeight]:
    return {
        layer: set_rounded(layer, round_nearest(layer.weight.detach(), grid))
        for layer, grid in grids.items()
    }


def layer_schemes(
    model: nn.Module, settings: ExportSettings
) -> dict[str, tuple[nn.Linear, Scheme]]:
    """Return each linear layer and its scheme, by name.

    Raises:
        LoweringError: an override names no layer, or a scheme is unknown.
    """
    layers = {name: x for name, x in model.named_modules() if isinstance(x, nn.Linear)}
    names, schemes = [*layers], dict.fromkeys(layers, settings.scheme)
    for pattern, scheme in settings.overrides.items():
        found = [name for name in names if fnmatchcase(name, pattern)]
        if not found:
            raise LoweringError(
                f"no linear layer of the base is named {pattern!r}; its layers are "
                f"{', '.join(names[:3])} … {names[-1]}",
                options=["override"],
            )
        schemes |= dict.fromkeys(found, find_scheme(scheme))
    return {name: (layer, schemes[name]) for name, layer in layers.items()}


def quantize(
    model: PreTrainedModel,
    settings: ExportSettings,
    rounded: RoundedBase,
    rows: Mapping[str, IntegerWeight] | None = None,
) -> None:
    """Make quantised layers of rounded weights in place; ``rows`` become layers of its slots."""
    report_stage("Quantising the base model")
    backend = find_backend(settings.backend)
    for layer in rounded.weights:
        clear_rounded(layer)
    backend.quantize(model, rounded.weights)
    if rounded.embedding is not None:
        model.set_input_embeddings(rounded.embedding)
    set_rows(model, rows or {}, backend)
