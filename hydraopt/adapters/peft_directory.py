"""Read and write PEFT LoRA directories: ``adapter_config.json``, ``adapter_model.safetensors``.

The LoRA scale is ``alpha / r``, or ``alpha / sqrt(r)`` for rank-stabilised LoRA (arXiv
2312.03732); ``rank_pattern`` and ``alpha_pattern`` set it per module.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from ..errors import AdapterError
from ..factors import Factors, Target, head_tensors, is_head
from ..files import write_json, write_tensors
from ..hub import fetched
from ..progress import progress
from ..reading import MissingError, UnreadableError, check_regular, file_tensors, shortened
from .file_factors import FileFactors, Version
from .keys import PREFIX
from .lora import AdapterSet, LoraAdapter
from .peft_config import CONFIG, read_config
from .peft_tensors import check_kind, take_copies, take_factors, take_head
from .task_types import PEFT_CAUSAL_LM

WEIGHTS = "adapter_model.safetensors"
ADAPTER = "adapter"


def read_adapter(source: str | Path, name: str | None = None) -> LoraAdapter:
    """Read and check a PEFT LoRA adapter, with its scale in B.

    The factors stay in the file, and are read module by module when they are used.

    Args:
        source: a directory, or a hub id such as ``org/adapter``.
        name: name of the task; by default the last component of ``source``.

    Raises:
        AdapterError: files are missing, truncated or unreadable; the adapter is not plain LoRA
            with at most one linear head; tensors are unknown, have wrong shapes or ranks, or hold
            NaN or infinite values.
    """
    directory = _locate(source)
    name = name or os.path.basename(os.path.abspath(source))
    config = read_config(directory / CONFIG, name)
    version, tensors = _read_tensors(directory / WEIGHTS, name)
    check_kind(name, tensors)
    heads = take_head(name, tensors, config.get("modules_to_save") or ())
    parts = take_factors(name, tensors, config)
    base_weights = take_copies(name, tensors)
    if not parts:
        raise AdapterError(f"adapter {name!r}: no LoRA factors in {directory / WEIGHTS}")
    base_model, task_type = config["base_model_name_or_path"], config.get("task_type")
    factors = FileFactors(name, version, parts)
    return LoraAdapter(name, base_model, factors, heads, task_type, base_weights)


def read_adapters(sources: Iterable[str | Path]) -> AdapterSet:
    """Read several adapters; a source of the form ``NAME=SOURCE`` also names the task.

    Raises:
        AdapterError: as :func:`read_adapter` and :class:`AdapterSet`.
    """
    adapters = []
    for source in progress(tuple(sources), "read"):
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
    """Write factors, with or without a head, as a PEFT LoRA directory in fp16.

    The scale is 1 (``alpha = r``).

    Args:
        directory: directory to write into; created if missing.
        factors: module -> factors.
        base_model: identifier of the base model.
        task_type: PEFT's task type.

    Raises:
        AdapterError: a value exceeds the range of fp16.
    """
    for module, sides in factors.items():
        if not all(side.half().isfinite().all() for side in sides):
            raise AdapterError(
                f"the weights of {module} exceed the range of fp16, in which adapters are stored; "
                "export a bundle, or use adapters of smaller scales"
            )
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
    if Path(source).is_file():
        raise AdapterError(
            f"{shortened(source)} is a file, expected the directory that holds it and {CONFIG}; "
            f"pass {shortened(Path(source).parent)}"
        )
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise AdapterError(
            f"no adapter directory {shortened(source)}; expected a PEFT directory or a hub id"
        )
    try:
        return fetched(str(source), [CONFIG, WEIGHTS])
    except UnreadableError as error:
        raise AdapterError(
            f"{shortened(source)} is neither a directory nor a reachable hub repository "
            f"({error}); check the name, or download it"
        ) from None


def _read_tensors(path: Path, name: str) -> tuple[Version, dict[str, torch.Tensor]]:
    try:
        check_regular(path)
        return Version.of(path), file_tensors(path)
    except MissingError:
        pickled = path.with_suffix(".bin")
        hint = "convert adapter_model.bin to" if pickled.exists() else "restore this"
        raise AdapterError(f"adapter {name!r}: {path} is missing; {hint} safetensors") from None
    except UnreadableError as error:
        raise AdapterError(
            f"adapter {name!r}: {path} is truncated or not safetensors ({error}); copy it again"
        ) from None
