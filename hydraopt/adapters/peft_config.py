"""Read PEFT's ``adapter_config.json``, and refuse anything but plain LoRA."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ..errors import AdapterError
from ..reading import MissingError, UnreadableError, file_json, shortened
from .foreign import foreign_config, foreign_directory

CONFIG = "adapter_config.json"

# settings for which delta = scale * B @ A on the unchanged base does not hold
UNSUPPORTED = {
    "use_dora": "DoRA",
    "lora_bias": "a bias on B",
    "trainable_token_indices": "trained tokens",
    "layer_replication": "layer replication",
    "target_parameters": "LoRA on bare parameters",
    "alora_invocation_tokens": "activated LoRA",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal LoRA",
    "arrow_config": "Arrow routing",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
}
LARGEST_RANK, LARGEST_ALPHA = 1 << 16, 1e30
BASE_CHANGING_INITS = ("pissa", "olora", "corda", "loftq", "lora_ga")


def read_config(path: Path, name: str) -> dict:
    """Read the configuration of a plain LoRA adapter, and compile its patterns.

    Args:
        path: path of ``adapter_config.json``.
        name: name of the adapter, for messages.

    Raises:
        AdapterError: the file is missing or unreadable, is not plain LoRA's, or has invalid
            values.
    """
    try:
        config = file_json(path)
    except MissingError:
        if found := foreign_directory(path.parent):
            raise AdapterError(f"adapter {name!r}: it is {found.what}; {found.step}") from None
        raise AdapterError(
            f"adapter {name!r}: {path} is missing; expected what PEFT's save_pretrained writes"
        ) from None
    except UnreadableError as error:
        raise AdapterError(
            f"adapter {name!r}: {path} is not readable JSON ({error}); restore the file"
        ) from None
    _check_config(config, path, name)
    return config


def _check_config(config: object, path: Path, name: str) -> None:
    def refuse(problem: str, step: str) -> NoReturn:
        raise AdapterError(f"adapter {name!r}: {problem} in {path}; {step}")

    if not isinstance(config, dict):
        refuse(f"a {type(config).__name__}, expected a map,", "restore the file")
    if (kind := config.get("peft_type")) != "LORA":
        what, step = foreign_config(config)
        refuse(f"peft_type {shortened(kind)!r}{what}, expected 'LORA',", step)
    for key, meaning in UNSUPPORTED.items():
        if config.get(key):
            refuse(f"{meaning} ({key}) is not supported, found", "train a plain LoRA adapter")
    if config.get("bias") not in (None, "none"):
        refuse(f"bias={shortened(config['bias'])!r}, expected 'none',", "train with bias='none'")
    init = str(config.get("init_lora_weights", True)).lower()
    if init.startswith(BASE_CHANGING_INITS):
        refuse(
            f"init_lora_weights={shortened(init)!r} changes the base model's weights, found",
            "convert it to a plain LoRA first (PEFT: path_initial_model_for_weight_conversion)",
        )
    if not config.get("base_model_name_or_path"):
        refuse("no base_model_name_or_path", "add the base model's id")
    if not isinstance(config["base_model_name_or_path"], str):
        refuse("base_model_name_or_path is not a string", "add the base model's id")
    _check_numbers(config, refuse)


def _check_numbers(config: dict, refuse: Callable[[str, str], NoReturn]) -> None:
    """Check ranks, alphas and patterns, and compile the patterns as PEFT does."""
    for key, numbers in NUMBERS.items():
        if not numbers(config.get(key)):
            found = shortened(repr(config.get(key)))
            refuse(f"{key}={found}, expected a positive number,", "restore the file")
    for key, numbers in (("rank_pattern", _is_rank), ("alpha_pattern", _is_alpha)):
        patterns = config.get(key) or {}
        if not isinstance(patterns, dict) or not all(map(numbers, patterns.values())):
            refuse(f"{key} does not map patterns to positive numbers", "restore the file")
        try:
            config[key] = {
                re.compile(rf"(.*\.)?({text})"): value for text, value in patterns.items()
            }
        except (re.error, RecursionError, OverflowError) as error:
            refuse(f"{key} has an invalid regular expression ({error})", "correct it")
    if not isinstance(config.get("task_type"), str | None):
        refuse("task_type is not a string", "restore the file")
    if not isinstance(config.get("modules_to_save"), list | None):
        refuse("modules_to_save is not a list", "restore the file")


def _is_rank(value: object) -> bool:
    # True is an int
    return isinstance(value, int) and value is not True and 0 < value <= LARGEST_RANK


def _is_alpha(value: object) -> bool:
    return isinstance(value, int | float) and value is not True and 0 < value <= LARGEST_ALPHA


NUMBERS = {"r": _is_rank, "lora_alpha": _is_alpha}
