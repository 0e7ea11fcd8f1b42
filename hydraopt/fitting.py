"""Map adapters to the layers of a loaded base model, and check that they belong to it.

Adapters name layers as the model they were trained on did. The loaded model may use other names:
transformers renamed layers of many models, and adds a prefix to a headless model's layers in one
with a head. Its own tables for loading checkpoints give the mapping.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from .adapters import AdapterSet, BaseWeights, check_task_type, is_copy
from .base_layers import check_layers
from .errors import DataError, HydraOptError
from .factors import Places, Target, placed
from .formats.models import CAUSAL_LM
from .hooks import outputs_plus
from .private.transformers import loaded_names
from .reading import shortened

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

Run = Callable[["PreTrainedModel"], torch.Tensor]
PROBE = 4  # tokens


def check_base_weights(
    model: "PreTrainedModel", weights: BaseWeights, error: type[HydraOptError]
) -> None:
    """Check the base model's weights against the copies that PEFT saved with the adapters.

    Args:
        model: the base model in float32; weights that were cast to bfloat16 are not compared.
        weights: fingerprints of the copies.
        error: class to raise if a weight is missing or differs.
    """
    own = dict(model.state_dict(keep_vars=True)) if weights else {}
    names = layer_names(model, (name.rpartition(".")[0] for name in weights))
    for name, copies in weights.items():
        layer, _, kind = name.rpartition(".")
        weight = own.get(f"{names[layer]}.{kind}")
        rounded = weight is not None and weight.dtype == torch.bfloat16
        for copy in copies:
            if rounded or (weight is not None and is_copy(weight, copy)):
                continue
            found = "lacks it" if weight is None else f"has others {[*weight.shape]}"
            raise error(
                f"the adapters hold a copy {[*copy.shape]} of {shortened(name)} of the model that "
                f"they were trained on, but this base model {found}, expected the same values: its "
                "vocabulary was resized, the layer was trained, or it is another model; pass the "
                "base model that they were trained on, saved with these weights"
            )


def check_fit(model: "PreTrainedModel", adapters: AdapterSet, error: type[HydraOptError]) -> None:
    """Raise ``error`` unless the base model has the weights and layers that ``adapters`` expect."""
    check_base_weights(model, adapters.base_weights, error)
    check_layers(model, placed(adapters.shapes, layer_names(model, adapters.shapes)), error)


def layer_names(model: "PreTrainedModel", modules: Iterable[str]) -> dict[str, str]:
    """Map modules to their names in ``model``; a module that it lacks keeps its name."""
    targets = {module: Target.parse(module) for module in modules}
    own = {name for name, _ in model.named_modules()}
    others = {target.layer for target in targets.values()} - own
    known = others and hasattr(model, "base_model_prefix")  # transformers has tables for it
    loaded = loaded_names(model, own, others) if known else {}
    return {
        module: Target(loaded.get(layer, layer), role).module
        for module, (layer, role) in targets.items()
    }


def places(
    model: "PreTrainedModel",
    shapes: Mapping[str, tuple[int, int]],
    run: Run,
    error: type[HydraOptError],
) -> Places:
    """Map the adapters' modules to layers of the base model; warn about layers that never run.

    Args:
        model: the unmodified base model.
        shapes: module -> ``(out, in)`` of the adapters.
        run: computes the program's output on some input; layers without effect on it never run.
        error: class to raise if two modules are the same layer, no layer runs, or a layer that
            runs has another shape.
    """
    names = layer_names(model, shapes)
    if not names:
        return {}
    name, count = Counter(names.values()).most_common(1)[0]
    if count > 1:
        both = " and ".join(module for module in names if names[module] == name)
        raise error(
            f"the adapters change {name} under {count} names, {shortened(both)}, expected one; "
            "merge adapters that were trained with one version of transformers"
        )
    unused = {*_ignored(model, names), *_without_effect(model, names, run)}
    if len(unused) == len(names):
        raise error(
            f"the program runs none of the {len(names)} layers that the adapters change (first: "
            f"{shortened(min(unused))}), expected some; pass adapters of layers that it runs"
        )
    if unused:
        logger.warning(
            "left out %d of %d layers that the adapters change: the program never runs them "
            "(first: %s)",
            len(unused),
            len(names),
            shortened(min(unused)),
        )
    found = {module: None if module in unused else name for module, name in names.items()}
    check_layers(model, placed(shapes, found), error)
    return found


def reversed_places(places: Places) -> Places:
    """Invert ``places``, without modules that never run."""
    return {name: module for module, name in places.items() if name is not None}


def _ignored(model: "PreTrainedModel", names: Mapping[str, str]) -> list[str]:
    """Return the modules that this model class ignores when it loads a checkpoint."""
    patterns = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()
    own = {name for name, _ in model.named_modules()}
    return [
        module
        for module, name in names.items()
        if Target.parse(name).layer not in own and any(re.search(x, name) for x in patterns)
    ]


def _without_effect(model: "PreTrainedModel", names: Mapping[str, str], run: Run) -> list[str]:
    """Return the modules whose linear layers have no effect on the program's output."""
    linear = {name for name, x in model.named_modules() if isinstance(x, nn.Linear)}
    layers = {m: Target.parse(name).layer for m, name in names.items()}
    layers = {module: layer for module, layer in layers.items() if layer in linear}
    probes = {layer: torch.zeros(1, requires_grad=True) for layer in layers.values()}
    with torch.enable_grad(), outputs_plus(model, {x: probes[x].to for x in probes}):
        output = run(model).float().sum()
    if not (probes and output.requires_grad):
        return list(layers)
    gradients = torch.autograd.grad(output, list(probes.values()), allow_unused=True)
    unused = {x for x, gradient in zip(probes, gradients, strict=True) if gradient is None}
    return [module for module, layer in layers.items() if layer in unused]


def places_in_causal_lm(model: "PreTrainedModel", adapters: "AdapterSet") -> Places:
    """Return :func:`places` of the adapters in a causal language model.

    Raises:
        DataError: the base model does not fit the adapters.
    """
    check_task_type(adapters.task_type, CAUSAL_LM, DataError)
    check_base_weights(model, adapters.base_weights, DataError)
    return places(model, adapters.all_shapes, next_logits, DataError)


def next_logits(model: "PreTrainedModel") -> torch.Tensor:
    """Return a language model's logits for some tokens."""
    ids = torch.arange(PROBE, device=model.device)[None]
    return model(input_ids=ids, use_cache=False).logits
