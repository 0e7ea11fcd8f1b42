"""A base model's ``config.json``: what it says that no program can be made of."""

from collections.abc import Iterator
from pathlib import Path

from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

from ..private.transformers import adapter_on_hub
from ..reading import shortened
from .files import UnfitError, adapter_in_base

QUANTISED = "quantization_config", "compression_config", "quantization"  # the last one is MLX's


def base_config(source: str) -> PretrainedConfig:
    """The configuration of a base model in a directory or on the hub; no code of it runs.

    It has transformers' own choice of attention: one that it names may be code of others, too.

    Raises:
        UnfitError: it needs code of its own, its weights are quantised, it is an encoder-decoder,
            or an adapter is with it.
        Exception: whatever transformers raises of a file that is missing or makes no sense.
    """
    if not Path(source).is_dir() and adapter_on_hub(source):
        raise adapter_in_base()
    stored, _ = PretrainedConfig.get_config_dict(source)
    if not isinstance(stored, dict):
        raise ValueError("config.json holds no object")
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
    """Refuse a model whose classes are in its own directory, and not in transformers."""
    own, name = stored.get("auto_map"), stored.get("model_type")
    if own and not (isinstance(name, str) and name in CONFIG_MAPPING):
        raise UnfitError(
            f"is of type {shortened(name)}, which needs code of its own (auto_map in config.json); "
            "such code is never run: pass a model of an architecture that transformers has"
        )


def _quantisations(stored: dict) -> Iterator[object]:
    """What a configuration and those nested in it say of quantised weights."""
    for key, value in stored.items():
        if key in QUANTISED and value:
            yield value
        elif isinstance(value, dict):
            yield from _quantisations(value)


def _method(settings: object) -> str:
    """How weights were quantised, for people."""
    said = settings if isinstance(settings, dict) else {}
    bits = said.get("bits") or (said.get("load_in_4bit") and 4) or (said.get("load_in_8bit") and 8)
    method = shortened(said.get("quant_method") or "unknown method")
    return f"{method}, {shortened(bits)} bits" if bits else method
