"""A base model's weights: none is missing in the file, and none of the file in the model."""

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from ..reading import shortened
from .files import UnfitError

WHOLE = "pass the model as it was saved, all its weights and the config.json that is theirs"

COMPARED = 5000  # names with that of a missing weight; it takes a second


def load_whole(
    make: Any,
    source: str,
    config: PretrainedConfig,
    *,
    unneeded: tuple[str, ...] = (),
    attention: str | None = None,
) -> PreTrainedModel:
    """Load a model in float32, and be sure that it is the one that was saved.

    transformers draws what is missing at random and leaves out what it has no place for; it says
    so in a report only.

    Args:
        make: an ``AutoModel…`` class.
        source: directory or hub id.
        config: what :func:`~.config.base_config` gave.
        unneeded: starts of the names of weights that may be missing.
        attention: the attention's implementation; transformers' own choice by default.

    Raises:
        UnfitError: weights that are missing, of other shapes, or without a place in the model.
        Exception: whatever transformers raises of a model that is not whole.
    """
    options = {} if attention is None else {"attn_implementation": attention}
    model, found = make.from_pretrained(
        source,
        config=config,
        dtype=torch.float32,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,  # they are among what was found
        output_loading_info=True,
        **options,
    )
    check_whole(model, found, unneeded, parts=config.get_text_config() is not config)
    return model.eval()


def check_whole(
    model: PreTrainedModel,
    found: Mapping[str, Collection],
    unneeded: tuple[str, ...] = (),
    *,
    parts: bool = False,
    step: str = WHOLE,
) -> None:
    """Refuse a model that is not what its file says.

    Weights that are tied and those that the model's class ignores are as they should be, and so
    are heads of other tasks, and towers beside a text model.

    Args:
        model: the model.
        found: the loading information that transformers gave with it.
        unneeded: starts of the names of weights that may be missing.
        parts: whether the file is of a model of which this one is a part.
        step: what to do.

    Raises:
        UnfitError: weights that are missing, of other shapes, or without a place in the model.
    """
    kind, extra = type(model).__name__, found["unexpected_keys"]
    other = sorted(x for x in found["mismatched_keys"] if not x[0].startswith(unneeded))
    for name, shape, wanted in other:
        raise UnfitError(
            f"has {shortened(name)} of shape {list(shape)}, expected {list(wanted)} in a {kind} of "
            f"its configuration; {step}"
        )
    if missing := sorted(x for x in found["missing_keys"] if not x.startswith(unneeded)):
        raise UnfitError(
            f"lacks {len(missing)} weights of a {kind} (first: {missing[0]}), expected none"
            f"{_instead(missing[0], extra, step)}"
        )
    if lost := sorted(_lost(model, extra, parts=parts)):
        raise UnfitError(
            f"has {len(lost)} weights for which a {kind} of its configuration has no place (first: "
            f"{shortened(lost[0])}), expected none; {step}"
        )


def check_dense(make: Any, config: PretrainedConfig) -> None:
    """Refuse a mixture of experts, built without memory for its weights.

    Raises:
        UnfitError: it has experts, among which a router chooses for each token.
        Exception: whatever transformers raises of a configuration that makes no sense.
    """
    with torch.device("meta"):
        model = make.from_config(copy.deepcopy(config), trust_remote_code=False)
    for name, module in model.named_modules():
        if "expert" in f"{name} {type(module).__name__}".lower():
            raise UnfitError(
                f"is a mixture of experts ({name} is a {type(module).__name__}), whose layers "
                "depend on the token, while a program's layers are fixed; pass a dense model"
            )


def _instead(missing: str, extra: Collection[str], step: str) -> str:
    """What a file has instead of a weight, and what to do."""
    names = sorted(extra)
    like = next((x for x in names if x.endswith(f".{missing}")), None)
    if like:
        prefix = like.removesuffix(missing)
        return (
            f"; it has {shortened(like)}: save the model itself, not what wraps it, so that no "
            f"name begins with {shortened(prefix)}"
        )
    near = get_close_matches(missing, names[:COMPARED], 1)
    nearest = f"; the nearest that it has is {shortened(near[0])}" if near else ""
    return f"{nearest}; {step}"


def _lost(model: PreTrainedModel, extra: Iterable[str], *, parts: bool) -> Iterator[str]:
    """Weights without a place in a model that belong to what it computes.

    Heads and towers have names of their own at the top. What is further down is a piece of a
    layer or a layer more, and so is what else the base of a language model has.
    """
    prefix = f"{model.base_model_prefix}."
    own = {name.removeprefix(prefix).partition(".")[0] for name in model.state_dict()}
    for name in extra:
        more = name.startswith(prefix) and model.can_generate() and not parts
        if more or name.removeprefix(prefix).partition(".")[0] in own:
            yield name
