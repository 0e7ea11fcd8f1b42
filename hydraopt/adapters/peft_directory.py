"""PEFT LoRA directories: ``adapter_config.json`` and ``adapter_model.safetensors``.

The only place that knows PEFT's keys and its scale: ``alpha / r``, or ``alpha / sqrt(r)`` with
rank-stabilised LoRA (arXiv 2312.03732), per module through ``rank_pattern`` and ``alpha_pattern``.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import torch

from ..errors import AdapterError
from ..files import Output, write_json, write_tensors
from ..hub import fetched
from ..reading import MissingError, UnreadableError, file_tensors, shortened
from .heads import classes_of, head_factors, head_tensors
from .lora import AdapterSet, Factors, LoraAdapter
from .patterns import Pattern, PatternError
from .peft_config import read_config
from .targets import Role, Target, is_head
from .task_types import PEFT_CAUSAL_LM

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ADAPTER = Output(CONFIG, "peft_type", (WEIGHTS,))
PREFIX = "base_model.model."
FACTOR_KEY = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])\.weight")


def read_adapter(source: str | Path, name: str | None = None) -> LoraAdapter:
    """Read a PEFT LoRA adapter from a directory or a hub id, with its scale folded into B.

    Args:
        source: a directory, or a hub id such as ``org/adapter``.
        name: the task's name; the last part of ``source`` by default.

    Raises:
        AdapterError: missing, truncated or unreadable files; anything but plain LoRA and one
            linear head; unknown tensors; shapes or ranks that do not fit; NaN or infinite weights.
    """
    directory = _locate(source)
    name = name or os.path.basename(os.path.abspath(source))
    config = read_config(directory / CONFIG, name)
    tensors = _read_tensors(directory / WEIGHTS, name)
    heads = _take_head(name, tensors, config.get("modules_to_save") or ())
    factors = {
        module: _fold(name, module, a, b, config)
        for module, (a, b) in sorted(_pair(name, tensors).items())
    }
    if not factors:
        raise AdapterError(f"adapter {name!r}: no LoRA factors in {directory / WEIGHTS}")
    base_model, task_type = config["base_model_name_or_path"], config.get("task_type")
    return LoraAdapter(name, base_model, factors, heads, task_type)


def read_adapters(sources: Iterable[str | Path]) -> AdapterSet:
    """Read several adapters; a source may be given as ``NAME=SOURCE`` to name the task.

    Raises:
        AdapterError: as :func:`read_adapter` and :class:`AdapterSet`.
    """
    adapters = []
    for source in sources:
        name, separator, rest = str(source).partition("=")
        if separator and not Path(source).exists():
            adapters.append(read_adapter(rest, name))
        else:
            adapters.append(read_adapter(source))
    return AdapterSet(adapters)


def write_adapter(
    directory: Path,
    factors: Mapping[str, Factors],
    base_model: str,
    task_type: str | None = PEFT_CAUSAL_LM,
) -> None:
    """Write ``factors``, a head among them or not, as a PEFT LoRA directory in fp16.

    They get ``alpha = r``, which is scale 1. ``task_type`` is PEFT's.
    """
    tensors = {}
    heads = {Target.parse(module).layer: x for module, x in factors.items() if is_head(module)}
    for layer, head in heads.items():
        weight, bias = head_tensors(head)
        tensors[f"{PREFIX}{layer}.weight"] = weight.half().contiguous()
        tensors[f"{PREFIX}{layer}.bias"] = bias.half().contiguous()
    factors = {module: x for module, x in factors.items() if not is_head(module)}
    for module, (a, b) in factors.items():
        tensors[f"{PREFIX}{module}.lora_A.weight"] = a.half().contiguous()
        tensors[f"{PREFIX}{module}.lora_B.weight"] = b.half().contiguous()
    ranks = {module: a.shape[0] for module, (a, _) in factors.items()}
    rank = Counter(ranks.values()).most_common(1)[0][0]
    other_ranks = {module: r for module, r in ranks.items() if r != rank}
    config = {
        "peft_type": "LORA",
        "task_type": task_type,
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": other_ranks,
        "alpha_pattern": other_ranks,
        "target_modules": sorted(factors),
        "bias": "none",
        "modules_to_save": list(heads) or None,
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_tensors(directory / WEIGHTS, tensors, {"format": "pt"})
    write_json(directory / CONFIG, config)


def _locate(source: str | Path) -> Path:
    if Path(source).is_dir():
        return Path(source)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise AdapterError(
            f"no adapter directory {shortened(source)}; expected a PEFT directory or a hub id"
        )
    try:
        return fetched(str(source), [CONFIG, WEIGHTS])
    except UnreadableError as error:
        raise AdapterError(
            f"{shortened(source)} is neither a directory nor a hub repository in reach ({error}); "
            "check the name, or download it"
        ) from None


def _read_tensors(path: Path, name: str) -> dict[str, torch.Tensor]:
    try:
        return file_tensors(path)
    except MissingError:
        pickled = path.with_suffix(".bin")
        hint = "convert adapter_model.bin to" if pickled.exists() else "restore this"
        raise AdapterError(f"adapter {name!r}: {path} is missing; {hint} safetensors") from None
    except UnreadableError as error:
        raise AdapterError(
            f"adapter {name!r}: {path} is truncated or no safetensors file ({error}); copy it again"
        ) from None


def _take_head(
    name: str, tensors: dict[str, torch.Tensor], saved: Collection[str]
) -> dict[str, Factors]:
    """Take out of ``tensors`` the fully trained layer that ``modules_to_save`` may name."""
    if not saved:
        return {}
    saved_tensors = {}
    for key in [key for key in tensors if not FACTOR_KEY.fullmatch(key.removeprefix(PREFIX))]:
        saved_tensors[key.removeprefix(PREFIX)] = tensors.pop(key)
    layers = {key.rpartition(".")[0] for key in saved_tensors}
    layer = next(iter(layers), "")
    weight, bias = saved_tensors.get(f"{layer}.weight"), saved_tensors.get(f"{layer}.bias")
    if len(saved_tensors) != 2 or weight is None or bias is None or bias.shape != weight.shape[:1]:
        shapes = ", ".join(f"{key} {list(x.shape)}" for key, x in saved_tensors.items()) or "none"
        raise AdapterError(
            f"adapter {name!r}: its fully trained modules (modules_to_save) are {shapes}; "
            "expected one linear head, weight [classes, d] and bias [classes]"
        )
    head = head_factors(weight, bias)
    _check_finite(name, layer, head)
    if weight.dim() != 2 or classes_of(head) < len(weight):
        raise AdapterError(
            f"adapter {name!r}: the weights of {layer} are {list(weight.shape)}, "
            f"{len(weight) - classes_of(head)} rows of them zero; expected [classes, d], trained"
        )
    return {Target(layer, Role.HEAD).module: head}


def _pair(name: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, Factors]:
    """Group ``tensors`` into one ``(A, B)`` per module."""
    sides: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        match = FACTOR_KEY.fullmatch(key.removeprefix(PREFIX))
        if not match:
            raise AdapterError(
                f"adapter {name!r}: unknown tensor {shortened(key)!r}, expected only "
                "….lora_A.weight and ….lora_B.weight of linear layers; it is no plain LoRA adapter"
            )
        sides.setdefault(match["module"], {})[match["side"]] = tensor
    for module, pair in sides.items():
        if role := Target.parse(module).role:
            raise AdapterError(
                f"adapter {name!r} changes a layer {module}, expected no name that ends with "
                f"{role}, which marks factors that are no update; rename the layer in the base"
            )
        if any(x.numel() == 0 or not x.is_floating_point() for x in pair.values()):
            raise AdapterError(
                f"adapter {name!r}: {shortened(module)} has factors without values, or of "
                "integers; it is no trained LoRA adapter"
            )
        if len(pair) != 2:
            raise AdapterError(f"adapter {name!r}: {module} has only lora_{next(iter(pair))}")
    return {module: Factors(pair["A"], pair["B"]) for module, pair in sides.items()}


def _fold(name: str, module: str, a: torch.Tensor, b: torch.Tensor, config: dict) -> Factors:
    try:
        rank = _pattern(config["rank_pattern"], module, config["r"])
        alpha = _pattern(config["alpha_pattern"], module, config["lora_alpha"])
    except PatternError as error:
        raise AdapterError(
            f"adapter {name!r}, {module}: {error} in a pattern of {CONFIG}; write a simpler one"
        ) from None
    if a.dim() != 2 or b.dim() != 2 or a.shape[0] != rank or b.shape[1] != rank:
        raise AdapterError(
            f"adapter {name!r}, {module}: A is {list(a.shape)} and B is {list(b.shape)}, expected "
            f"[{rank}, in] and [out, {rank}] as {CONFIG} says"
        )
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    factors = Factors(a.float(), b.float() * scale)
    _check_finite(name, module, factors)
    return factors


def _check_finite(name: str, module: str, factors: Factors) -> None:
    if not all(x.half().isfinite().all() for x in factors):
        raise AdapterError(
            f"adapter {name!r}, {module}: NaN, infinite weights or weights that exceed fp16; "
            "train it again"
        )


def _pattern(patterns: Mapping[Pattern, float], module: str, default: float) -> float:
    """PEFT's rule: the value of the first pattern that matches."""
    return next((value for pattern, value in patterns.items() if pattern.matches(module)), default)
