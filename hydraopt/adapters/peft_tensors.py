"""Sort an adapter's tensors into factors, a head and copies of the base's weights."""

import math
import re
from collections.abc import Collection, Mapping

import torch

from ..errors import AdapterError
from ..factors import Factors, Role, Size, Target, classes_of, head_factors
from ..reading import shortened
from .base_weights import Fingerprint, fingerprint
from .file_factors import Part
from .foreign import foreign_tensor
from .keys import BASE_LAYER, factor_key, plain_name

Tensors = dict[str, torch.Tensor]  # each function removes the tensors that it reads
DECODER_HEAD = "score"  # transformers' bias-free classifier on a causal language model


def take_factors(name: str, tensors: Tensors, config: Mapping) -> dict[str, Part]:
    """Remove the factors from ``tensors`` and check them; return where they are by module.

    Args:
        name: name of the adapter, for messages.
        tensors: tensors of its file.
        config: result of :func:`.read_config`.

    Raises:
        AdapterError: a factor is missing, not finite or not of the rank in ``config``, or the
            tensors belong to several adapters.
    """
    pairs, names = _pair(name, tensors)
    return {
        module: _checked(name, module, names[module], pair, tensors, config)
        for module, pair in sorted(pairs.items())
    }


def take_head(name: str, tensors: Tensors, saved: Collection[str]) -> dict[str, Factors]:
    """Remove the fully trained layer from ``tensors``, if ``modules_to_save`` names one.

    Raises:
        AdapterError: the layer is not a single linear head.
    """
    if not saved:
        return {}
    saved_tensors = {}
    for key in [key for key in tensors if not factor_key(key) and BASE_LAYER not in key]:
        saved_tensors[plain_name(key)] = tensors.pop(key)
    layers = {key.rpartition(".")[0] for key in saved_tensors}
    layer = next(iter(layers), "")
    weight, bias = saved_tensors.get(f"{layer}.weight"), saved_tensors.get(f"{layer}.bias")
    if len(saved_tensors) != 2 or weight is None or bias is None or bias.shape != weight.shape[:1]:
        shapes = ", ".join(f"{key} {list(x.shape)}" for key, x in saved_tensors.items()) or "none"
        step = "train all other layers with LoRA alone"
        if set(saved_tensors) == {f"{DECODER_HEAD}.weight"}:
            step = "text classification by a causal LM is not supported; train a text encoder"
        raise AdapterError(
            f"adapter {name!r}: its fully trained modules (modules_to_save) are {shapes}; "
            f"expected one linear head, weight [classes, d] and bias [classes]; {step}"
        )
    head = head_factors(weight, bias)
    _check_finite(name, layer, head)
    if weight.dim() != 2 or classes_of(head) < len(weight):
        raise AdapterError(
            f"adapter {name!r}: the weights of {layer} are {list(weight.shape)}, "
            f"{len(weight) - classes_of(head)} rows of them zero; expected [classes, d], trained"
        )
    return {Target(layer, Role.HEAD).module: head}


def take_copies(name: str, tensors: Tensors) -> dict[str, Fingerprint]:
    """Remove PEFT's copies of base weights from ``tensors``; see :mod:`.base_weights`.

    Raises:
        AdapterError: any other tensor is left.
    """
    copies = {}
    for key in list(tensors):
        tensor, plain = tensors[key], plain_name(key)
        wrapped, copied = BASE_LAYER in plain, plain.replace(BASE_LAYER, ".")
        whole = tensor.dim() == 2 and plain.endswith(".weight") and "lora" not in plain
        if tensor.is_floating_point() and (wrapped or whole) and copied not in copies:
            copies[copied] = fingerprint(tensors.pop(key))
    if tensors:
        _refuse_rest(name, tensors)
    return copies


def check_kind(name: str, tensors: Tensors) -> None:
    """Refuse other types of adapters, recognised by the names of their tensors.

    Raises:
        AdapterError: the tensors are another type's.
    """
    if found := foreign_tensor(tensors):
        key, (what, step) = found
        raise AdapterError(
            f"adapter {name!r}: tensor {shortened(key)!r} is of {what}, expected only "
            f"….lora_A.weight and ….lora_B.weight of linear layers; {step}"
        )


def _refuse_rest(name: str, tensors: Tensors) -> None:
    key = next(iter(tensors))
    if BASE_LAYER in key and not tensors[key].is_floating_point():
        raise AdapterError(
            f"adapter {name!r}: tensor {shortened(key)!r} is of a quantised layer of the base, "
            "expected only factors; save it with save_embedding_layers=False"
        )
    raise AdapterError(
        f"adapter {name!r}: unknown tensor {shortened(key)!r}, expected only "
        "….lora_A.weight and ….lora_B.weight of linear layers; save it with save_pretrained, "
        "or train a plain LoRA adapter"
    )


def _pair(name: str, tensors: Tensors) -> tuple[dict[str, dict[str, str]], dict[str, set[str]]]:
    """Return keys of A and B by module, and the names by which patterns may match each module."""
    sides: dict[str, dict[str, str]] = {}
    names: dict[str, set[str]] = {}
    keys = {key: parsed for key in tensors if (parsed := factor_key(key))}
    if len(saved := sorted({str(key.adapter) for key in keys.values()})) > 1:
        raise AdapterError(
            f"adapter {name!r}: its file holds factors of {len(saved)} adapters "
            f"({shortened(', '.join(saved))}), expected one; save each with save_pretrained"
        )
    for key, (module, wrapped, side, _) in keys.items():
        if side in sides.setdefault(module, {}):
            raise AdapterError(
                f"adapter {name!r}: {shortened(module)} has lora_{side} twice, under names with "
                "and without wrappers, expected one; save it again from the unwrapped model"
            )
        sides[module][side] = key
        names.setdefault(module, {module}).add(wrapped)
    for module, pair in sides.items():
        if role := Target.parse(module).role:
            raise AdapterError(
                f"adapter {name!r} changes a layer {module}, expected no name that ends with "
                f"{role}, which marks factors that are no update; rename the layer in the base"
            )
        both = [tensors[key] for key in pair.values()]
        if any(x.numel() == 0 or not x.is_floating_point() for x in both):
            raise AdapterError(
                f"adapter {name!r}: {shortened(module)} has empty or integer factors, expected "
                "floating point; pass a trained LoRA adapter"
            )
        if len(pair) != 2:
            raise AdapterError(f"adapter {name!r}: {module} has only lora_{next(iter(pair))}")
    return sides, names


def _checked(
    name: str,
    module: str,
    names: Collection[str],
    keys: Mapping[str, str],
    tensors: Tensors,
    config: Mapping,
) -> Part:
    a, b = (tensors.pop(keys[side]) for side in "AB")
    rank = _matching(config["rank_pattern"], names, config["r"])
    alpha = _matching(config["alpha_pattern"], names, config["lora_alpha"])
    if a.dim() != 2 or b.dim() != 2 or a.shape[0] != rank or b.shape[1] != rank:
        raise AdapterError(
            f"adapter {name!r}, {module}: A is {list(a.shape)} and B is {list(b.shape)}, expected "
            f"[{rank}, in] and [out, {rank}] as its configuration says"
        )
    part = Part(
        keys["A"],
        keys["B"],
        alpha / (math.sqrt(rank) if config.get("use_rslora") else rank),
        Size(b.shape[0], a.shape[1], len(a)),
    )
    _check_finite(name, module, part.factors(a, b))
    return part


def _check_finite(name: str, module: str, factors: Factors) -> None:
    if not all(x.half().isfinite().all() for x in factors):
        raise AdapterError(
            f"adapter {name!r}, {module}: NaN, infinite weights or weights that exceed fp16; "
            "train it again"
        )


def _matching(
    patterns: Mapping[re.Pattern, float], names: Collection[str], default: float
) -> float:
    """Return the value of the first pattern that matches a whole name or its end, as PEFT does."""
    return next(
        (value for pattern, value in patterns.items() if any(map(pattern.fullmatch, names))),
        default,
    )
