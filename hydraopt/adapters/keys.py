"""Parse tensor names in adapter files: PEFT's own, with what model wrappers add."""

import re
from typing import NamedTuple

PREFIX = "base_model.model."
# added to names by torch.compile, FSDP and activation checkpointing
WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
PARALLEL = "module."  # prefix of DistributedDataParallel
BASE_LAYER = ".base_layer."  # the layer that a LoRA layer wraps
FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(\.(?P<adapter>[^.]+))?\.weight")


class FactorKey(NamedTuple):
    """The parsed name of a factor.

    Attributes:
        module: dotted name of the layer, without wrappers.
        wrapped: its name with wrappers, which PEFT may have matched with patterns.
        side: ``A`` or ``B``.
        adapter: PEFT's adapter name, which ``state_dict()`` includes.
    """

    module: str
    wrapped: str
    side: str
    adapter: str | None


def plain_name(key: str) -> str:
    """Return a tensor's name in the base model, without PEFT's prefix and wrappers."""
    parts = (part for part in key.split(".") if part not in WRAPPERS)
    return ".".join(parts).removeprefix(PARALLEL).removeprefix(PREFIX).removeprefix(PARALLEL)


def factor_key(key: str) -> FactorKey | None:
    """Parse the name of a LoRA factor; None for any other tensor."""
    match = FACTOR.fullmatch(plain_name(key))
    if match is None:
        return None
    wrapped = key.rpartition(".lora_")[0].partition(PREFIX)[2] or match["module"]
    return FactorKey(match["module"], wrapped, match["side"], match["adapter"])
