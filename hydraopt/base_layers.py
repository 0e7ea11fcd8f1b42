"""Find, check and replace the base model's linear layers that adapters change."""

from collections.abc import Callable, Mapping
from difflib import SequenceMatcher
from typing import NoReturn

from torch import nn

from .errors import HydraOptError
from .factors import Role, Target

Error = type[HydraOptError]  # class to raise

NEAREST = 3  # names in an error message


def check_layers(model: nn.Module, shapes: Mapping[str, tuple[int, int]], error: Error) -> None:
    """Check that the base model has every layer that the adapters change.

    Args:
        model: the base model.
        shapes: module -> ``(out, in)`` of the adapters.
        error: class to raise if a module is missing, not a linear layer, or of another shape.
    """
    for name, shape in shapes.items():
        target = Target.parse(name)
        if target.role is Role.HEAD:
            check_head(model, target.layer, shape[1], error)
        elif target.role is Role.UPDATE:
            linear_layer(model, name, shape, error)


def linear_layer(
    model: nn.Module, name: str, shape: tuple[int, int], error: Error, place: str | None = None
) -> nn.Linear:
    """Return the base model's linear layer ``name``, checked against the adapters' shape.

    Args:
        model: the base model.
        name: dotted name of the layer.
        shape: ``(out, in)`` of the adapters.
        error: class to raise, as in :func:`check_layers`.
        place: current name of the layer, if it was wrapped.
    """
    module = _linear(model, name, error, place)
    found = (module.out_features, module.in_features)
    if found != (*shape,):
        _refuse_shape(model, name, found, shape, error)
    return module


def replace_layers(
    model: nn.Module, layers: dict[str, nn.Linear], make: Callable[[nn.Linear], nn.Module]
) -> dict[str, nn.Module]:
    """Freeze ``model`` and replace every layer by ``make(layer)``; return the new modules."""
    model.requires_grad_(False)
    made = {}
    for name, layer in layers.items():
        parent, _, child = name.rpartition(".")
        made[name] = make(layer)
        setattr(model.get_submodule(parent), child, made[name])
    return made


def check_head(
    model: nn.Module, name: str, width: int, error: Error, place: str | None = None
) -> None:
    """Check that the base model's classifier takes ``width`` features, as the adapters' heads."""
    if (found := _linear(model, name, error, place).in_features) != width:
        raise error(
            f"module {name} of the base model takes {found} features, expected {width} as the "
            "heads of the adapters; pass the base model that they were trained on"
        )


def _linear(model: nn.Module, name: str, error: Error, place: str | None) -> nn.Linear:
    try:
        module = model.get_submodule(place or name)
    except AttributeError:
        _refuse_missing(model, name, error)
    _check_untied(model, name, error)
    if not isinstance(module, nn.Linear):
        _refuse_type(module, name, error)
    return module


def _is_output(model: nn.Module, name: str) -> bool:
    """Return whether a layer is the output head of a transformers model."""
    output = getattr(model, "get_output_embeddings", lambda: None)()
    return output is not None and model.get_submodule(name) is output


def _check_untied(model: nn.Module, name: str, error: Error) -> None:
    """Refuse a layer whose weights are tied to the token embedding."""
    config = getattr(model, "config", None)
    tied = getattr(config, "tie_word_embeddings", False)  # absent in models without tokens
    if tied and _is_output(model, name):
        raise error(
            f"the adapters change {name}, whose weights the base model ties to its token "
            "embedding, expected adapters of other layers; train them without it"
        )


def _refuse_missing(model: nn.Module, name: str, error: Error) -> NoReturn:
    """Explain a missing module: fewer layers, experts in one tensor, or other names."""
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
    raise error(f"the base model has no module {name}, which the adapters change; {what}; {step}")


def _nearest(layers: dict[str, nn.Module], name: str) -> list[str]:
    """Return the names of linear layers that are most similar to ``name``."""
    matcher = SequenceMatcher(b=name, autojunk=False)

    def likeness(other: str) -> float:
        matcher.set_seq1(other)
        return matcher.ratio()

    linear = [other for other, layer in layers.items() if isinstance(layer, nn.Linear)]
    return sorted(linear, key=likeness, reverse=True)[:NEAREST]


def _refuse_type(module: nn.Module, name: str, error: Error) -> NoReturn:
    inside = [x for x, layer in module.named_modules(prefix=name) if isinstance(layer, nn.Linear)]
    if isinstance(module, nn.Embedding):
        step = "train adapters without the token embedding"
    elif type(module).__name__ == "Conv1D":
        step = "its weight is transposed, as in GPT-2: train on a base model of linear layers"
    elif inside:
        step = f"it has {', '.join(inside[:NEAREST])} inside: pass the base model of the adapters"
    else:
        step = "adapters of other layers cannot be lowered: train them without it"
    raise error(f"module {name} is a {type(module).__name__}, expected nn.Linear; {step}")


def _refuse_shape(
    model: nn.Module,
    name: str,
    found: tuple[int, int],
    shape: tuple[int, int],
    error: Error,
) -> NoReturn:
    if _is_output(model, name) and found[1] == shape[1]:
        step = (
            f"its vocabulary has {found[0]:,} tokens, theirs {shape[0]:,}: pass the base model "
            "with the vocabulary that they were trained with"
        )
    elif found == shape[::-1]:
        step = "it is transposed: pass adapters that were trained on linear layers"
    else:
        step = "pass the base model that they were trained on, which has another size"
    raise error(
        f"module {name} of the base model is {found} (out, in), expected {shape} as in the "
        f"adapters; {step}"
    )
