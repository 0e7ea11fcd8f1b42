"""The base's linear layers that adapters change: found by name, or refused by the cause."""

from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import NoReturn

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ..adapters import BaseWeights, Places, Role, Target, placed
from ..errors import LoweringError
from ..fitting import check_base_weights, places
from .base_model import BaseModel
from .decoder import LastPosition
from .form import Form

NEAREST = 3  # names that an error tells


def layer_places(
    base: BaseModel, form: Form, shapes: Mapping[str, tuple[int, int]], weights: BaseWeights
) -> Places:
    """Where the layers of adapters are in their base, see :func:`.fitting.places`.

    Args:
        base: as it was loaded.
        form: of the program, resolved.
        shapes: module -> ``(out, in)`` of the adapters.
        weights: what the base must be equal in.

    Raises:
        LoweringError: a base that does not fit the adapters.
    """

    def run(model: PreTrainedModel) -> torch.Tensor:
        return base.kind.wanted(model, base.kind.probes(model, form)[0])

    check_base_weights(base.model, weights, LoweringError)
    found = places(base.model, shapes, run, LoweringError)
    check_layers(base.model, placed(shapes, found))
    return found


def check_layers(model: nn.Module, shapes: Mapping[str, tuple[int, int]]) -> None:
    """Refuse adapters of layers that cannot become slots.

    Args:
        model: the base model.
        shapes: module -> ``(out, in)`` of the adapters.

    Raises:
        LoweringError: a module that the base lacks, that is no linear layer, or of another shape.
    """
    for name, shape in shapes.items():
        target = Target.parse(name)
        if target.role is Role.HEAD:
            check_head(model, target.layer, shape[1])
        elif target.role is Role.UPDATE:
            linear_layer(model, name, shape)


def linear_layer(model: nn.Module, name: str, shape: tuple[int, int]) -> nn.Linear:
    """The base's linear layer ``name``, checked against the adapters' ``(out, in)``.

    Raises:
        LoweringError: a module that the base lacks, that is no linear layer, or of another shape.
    """
    module = _linear(model, name)
    found = (module.out_features, module.in_features)
    if found != (*shape,):
        _refuse_shape(model, name, found, shape)
    return module


def check_head(model: nn.Module, name: str, width: int) -> None:
    """Refuse a classifier that takes another number of features than the adapters' heads.

    Raises:
        LoweringError: it does, or is no linear layer.
    """
    if (found := _linear(model, name).in_features) != width:
        raise LoweringError(
            f"module {name} of the base model takes {found} features, expected {width} as the "
            "heads of the adapters; pass the base model that they were trained on"
        )


def place(model: nn.Module, name: str) -> str:
    """Where a layer lies in a model: inside what applies the last one to one position only."""
    return f"{name}.head" if isinstance(model.get_submodule(name), LastPosition) else name


def _linear(model: nn.Module, name: str) -> nn.Linear:
    try:
        module = model.get_submodule(place(model, name))
    except AttributeError:
        _refuse_missing(model, name)
    _check_untied(model, name)
    if not isinstance(module, nn.Linear):
        _refuse_type(module, name)
    return module


def _check_untied(model: nn.Module, name: str) -> None:
    """Refuse to change a layer whose weights are also the token embedding's."""
    config = model.config if isinstance(model, PreTrainedModel) else None
    tied = getattr(config, "tie_word_embeddings", False)  # models without tokens do not say
    if tied and model.get_submodule(name) is model.get_output_embeddings():
        raise LoweringError(
            f"the adapters change {name}, whose weights the base model ties to its token "
            "embedding, expected adapters of other layers; train them without it"
        )


def _refuse_missing(model: nn.Module, name: str) -> NoReturn:
    """By what the base has instead: fewer layers, experts in one tensor, or other names."""
    parts = name.split(".")
    layers = dict(model.named_modules())
    depth = next(n for n in range(len(parts) - 1, -1, -1) if ".".join(parts[:n]) in layers)
    parent, child = ".".join(parts[:depth]), parts[depth]
    inside = layers[parent]
    if isinstance(inside, nn.ModuleList) and child.isdigit():
        what = f"it has {len(inside)} layers {parent}"
        step = "pass the base model that they were trained on, which has more"
    elif "experts" in parts:
        what = f"it holds all experts of {parent} in one tensor"
        step = "train adapters of the attention layers: those of single experts cannot be lowered"
    else:
        what = f"nearest are {', '.join(_nearest(layers, name)) or 'none'}"
        step = "pass the base model that they were trained on"
    raise LoweringError(
        f"the base model has no module {name}, which the adapters change; {what}; {step}"
    )


def _nearest(layers: dict[str, nn.Module], name: str) -> list[str]:
    """Linear layers by how much their names resemble one."""
    matcher = SequenceMatcher(b=name, autojunk=False)

    def likeness(other: str) -> float:
        matcher.set_seq1(other)
        return matcher.ratio()

    linear = [other for other, layer in layers.items() if isinstance(layer, nn.Linear)]
    return sorted(linear, key=likeness, reverse=True)[:NEAREST]


def _refuse_type(module: nn.Module, name: str) -> NoReturn:
    inside = [x for x, layer in module.named_modules(prefix=name) if isinstance(layer, nn.Linear)]
    if isinstance(module, nn.Embedding):
        step = "train adapters without the token embedding"
    elif isinstance(module, Conv1D):
        step = "its weight is transposed, as in GPT-2: train on a base model of linear layers"
    elif inside:
        step = f"it has {', '.join(inside[:NEAREST])} inside: pass the base model of the adapters"
    else:
        step = "adapters of other layers cannot be lowered: train them without it"
    raise LoweringError(f"module {name} is a {type(module).__name__}, expected nn.Linear; {step}")


def _refuse_shape(
    model: nn.Module, name: str, found: tuple[int, int], shape: tuple[int, int]
) -> NoReturn:
    is_output = isinstance(model, PreTrainedModel) and (
        model.get_submodule(name) is model.get_output_embeddings()
    )
    if is_output and found[1] == shape[1]:
        step = (
            f"its vocabulary has {found[0]:,} tokens, theirs {shape[0]:,}: pass the base model "
            "with the vocabulary that they were trained with"
        )
    elif found == shape[::-1]:
        step = "it is transposed: pass adapters that were trained on linear layers"
    else:
        step = "pass the base model that they were trained on, which has another size"
    raise LoweringError(
        f"module {name} of the base model is {found} (out, in), expected {shape} as in the "
        f"adapters; {step}"
    )
