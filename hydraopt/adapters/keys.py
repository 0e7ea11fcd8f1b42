"""Names of tensors in adapter files: PEFT's own, and what wrappers around a model add to them."""

import re
from typing import NamedTuple

PREFIX = "base_model.model."
# that torch.compile, FSDP and activation checkpointing put into the names of what they wrap
WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
PARALLEL = "module."  # DistributedDataParallel's, around the whole model
BASE_LAYER = ".base_layer."  # what an adapted layer wraps
FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(\.(?P<adapter>[^.]+))?\.weight")


class FactorKey(NamedTuple):
    """What the name of a factor says.

    Attributes:
        module: dotted name of the layer, without wrappers.
        wrapped: its name with wrappers, as PEFT may have matched it with patterns.
        side: ``A`` or ``B``.
        adapter: PEFT's name of the adapter, which ``state_dict()`` keeps.
    """

    module: str
    wrapped: str
    side: str
    adapter: str | None


def plain_name(key: str) -> str:
    """A tensor's name in the base model, without PEFT's prefix and without wrappers."""
    parts = (part for part in key.split(".") if part not in WRAPPERS)
    return ".".join(parts).removeprefix(PARALLEL).removeprefix(PREFIX).removeprefix(PARALLEL)


def factor_key(key: str) -> FactorKey | None:
    """What the name of a LoRA factor says; None of any other tensor."""
    match = FACTOR.fullmatch(plain_name(key))
    if match is None:
        return None
    wrapped = key.rpartition(".lora_")[0].partition(PREFIX)[2] or match["module"]
    return FactorKey(match["module"], wrapped, match["side"], match["adapter"])
