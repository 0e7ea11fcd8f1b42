"""Read a base model's ``config.json``, and refuse models that cannot be exported."""

from collections.abc import Iterator
from pathlib import Path

from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

from ..private.transformers import adapter_on_hub
from ..reading import shortened
from .files import UnfitError, adapter_in_base

QUANTISED = "quantization_config", "compression_config", "quantization"  # the last one is MLX's


def base_config(source: str) -> PretrainedConfig:
    """Read the configuration of a base model in a directory or on the hub, without remote code.

    The attention implementation is reset to transformers' default: one that the file names may be
    remote code, too.

    Raises:
        UnfitError: the model needs remote code, has quantised weights, is an encoder-decoder, or
            contains an adapter.
        Exception: any exception of transformers for a missing or invalid file.
    """
    if not Path(source).is_dir() and adapter_on_hub(source):
        raise adapter_in_base()
    stored, _ = PretrainedConfig.get_config_dict(source)
    if not isinstance(stored, dict):
        raise ValueError("config.json does not hold an object")
    _check_code(stored)
    for settings in _quantisations(stored):
        raise UnfitError(
            f"has quantised weights ({_method(settings)}), expected floating-point ones, which "
            "the export quantises itself; pass the unquantised model"
        )
    config = AutoConfig.from_pretrained(source, trust_remote_code=False, attn_implementation=None)
    if config.is_encoder_decoder:
        raise UnfitError(
            f"is an encoder-decoder ({shortened(config.model_type)}), expected a causal language "
            "model, a text encoder or an image model; pass one of these"
        )
    return config


def _check_code(stored: dict) -> None:
    """Refuse a model whose classes come with it instead of with transformers."""
    own, name = stored.get("auto_map"), stored.get("model_type")
    if own and not (isinstance(name, str) and name in CONFIG_MAPPING):
        raise UnfitError(
            f"is of type {shortened(name)}, which needs code of its own (auto_map in config.json); "
            "such code is never run: pass a model of an architecture that transformers has"
        )


def _quantisations(stored: dict) -> Iterator[object]:
    """Yield the quantisation settings in a configuration and its nested configurations."""
    for key, value in stored.items():
        if key in QUANTISED and value:
            yield value
        elif isinstance(value, dict):
            yield from _quantisations(value)


def _method(settings: object) -> str:
    """Describe a quantisation method for messages."""
    said = settings if isinstance(settings, dict) else {}
    bits = said.get("bits") or (said.get("load_in_4bit") and 4) or (said.get("load_in_8bit") and 8)
    method = shortened(said.get("quant_method") or "unknown method")
    return f"{method}, {shortened(bits)} bits" if bits else method
