"""transformers: how it renames a checkpoint's layers and finds files on the hub."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from .names import Name

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAPPING = Name(
    "transformers.conversion_mapping:get_model_conversion_mapping",
    "lists how layers of a checkpoint are renamed when a model is loaded",
)
RENAMING = Name(
    "transformers.core_model_loading:WeightRenaming",
    "distinguishes renamed layers from converted ones",
)
RENAME = Name(
    "transformers.core_model_loading:rename_source_key",
    "renames a layer of a checkpoint as loading does",
)
CACHED_FILE = Name(
    "transformers.utils:cached_file", "finds a file of a model on the hub or in its cache"
)
ADAPTER_CONFIG = Name(
    "transformers.utils:find_adapter_config_file",
    "finds an adapter that would be loaded with a base model",
)
BYTE_SYMBOLS = Name(
    "transformers.convert_slow_tokenizer:bytes_to_unicode",
    "names the bytes in the vocabulary of a byte-level tokenizer",
)


def loaded_names(
    model: "PreTrainedModel", own: Collection[str], layers: Collection[str]
) -> dict[str, str]:
    """Map a checkpoint's layers to their names in ``model``.

    Args:
        model: the model.
        own: dotted names of its modules.
        layers: dotted names in the checkpoint; layers that the model lacks are left out.
    """
    renaming, rename = RENAMING.get(), RENAME.get()
    renamings = [x for x in MAPPING.get()(model) if isinstance(x, renaming)]
    prefix, weights = model.base_model_prefix, {f"{name}.weight": name for name in own}
    keys = {x: rename(f"{x}.weight", renamings, [], prefix, weights) for x in layers}
    return {x: weights[key] for x, (key, _) in keys.items() if key in weights}


def hub_file(source: str, name: str) -> str | None:
    """Return the path of a model's file from the hub or its cache; None if there is none."""
    quiet = {f"_raise_exceptions_for_{case}": False for case in ("missing_entries", "gated_repo")}
    return CACHED_FILE.get()(source, name, **quiet)


def adapter_on_hub(source: str) -> str | None:
    """Return the path of an ``adapter_config.json`` beside a base model; None if there is none."""
    return ADAPTER_CONFIG.get()(source)


def byte_symbols() -> Mapping[int, str]:
    """Map bytes to their names in the vocabulary of a byte-level tokenizer."""
    return BYTE_SYMBOLS.get()()
