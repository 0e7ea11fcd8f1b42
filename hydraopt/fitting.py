"""Adapters on a loaded base model: where their layers are in it, and whether it is theirs.

An adapter names layers as the model that was trained did. The model here may name them otherwise:
transformers renamed the layers of many models, and gives the layers of a headless model a prefix
in one with a head. Its own tables say how, as when it loads a checkpoint.
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
    """Refuse a base whose weights differ from the copies that PEFT saved beside the factors.

    Args:
        model: as it was loaded, in float32; what was rounded to bfloat16 since is not compared.
        weights: fingerprints of the copies.
        error: to raise.
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
    """Refuse a base that differs from what ``adapters`` know of it, or lacks their layers."""
    check_base_weights(model, adapters.base_weights, error)
    check_layers(model, placed(adapters.shapes, layer_names(model, adapters.shapes)), error)


def layer_names(model: "PreTrainedModel", modules: Iterable[str]) -> dict[str, str]:
    """Module -> its name in ``model``; one that the model lacks keeps the name it has."""
    targets = {module: Target.parse(module) for module in modules}
    own = {name for name, _ in model.named_modules()}
    others = {target.layer for target in targets.values()} - own
    known = others and hasattr(model, "base_model_prefix")  # what transformers has tables for
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
    """Where the layers are that adapters change; what never runs is told in one line.

    Args:
        model: the base, not yet changed.
        shapes: module -> ``(out, in)`` of the adapters.
        run: the output of the program on some input; layers that it does not depend on never run.
        error: to raise, where two modules are one layer, none of them runs, or one that runs does
            not fit its layer.
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
    """From the names in the model back to the modules'; what never runs stays out."""
    return {name: module for module, name in places.items() if name is not None}


def _ignored(model: "PreTrainedModel", names: Mapping[str, str]) -> list[str]:
    """The modules of the checkpoint that this class of models knows and does without."""
    patterns = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()
    own = {name for name, _ in model.named_modules()}
    return [
        module
        for module, name in names.items()
        if Target.parse(name).layer not in own and any(re.search(x, name) for x in patterns)
    ]


def _without_effect(model: "PreTrainedModel", names: Mapping[str, str], run: Run) -> list[str]:
    """The modules on whose linear layers' outputs the program's output does not depend."""
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
    """:func:`places` of adapters in a language model that scores or learns texts.

    Raises:
        DataError: a base that does not fit the adapters.
    """
    check_task_type(adapters.task_type, CAUSAL_LM, DataError)
    check_base_weights(model, adapters.base_weights, DataError)
    return places(model, adapters.all_shapes, next_logits, DataError)


def next_logits(model: "PreTrainedModel") -> torch.Tensor:
    """What a language model says after some tokens."""
    ids = torch.arange(PROBE, device=model.device)[None]
    return model(input_ids=ids, use_cache=False).logits
