"""Load a base model's weights, and check that files and model hold exactly the same ones."""

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from ..reading import shortened
from .files import UnfitError

WHOLE = "pass the model as it was saved, with all its weights and their config.json"

COMPARED = 5000  # names compared with a missing weight's, which takes a second


def load_whole(
    make: Any,
    source: str,
    config: PretrainedConfig,
    *,
    unneeded: tuple[str, ...] = (),
    attention: str | None = None,
) -> PreTrainedModel:
    """Load a model in float32, and check that all its weights were loaded.

    transformers initialises missing weights randomly and drops unexpected ones; it only reports
    both.

    Args:
        make: an ``AutoModel…`` class.
        source: directory or hub id.
        config: result of :func:`~.config.base_config`.
        unneeded: prefixes of the names of weights that may be missing.
        attention: attention implementation; None: transformers' default.

    Raises:
        UnfitError: weights are missing, unexpected, or of other shapes.
        Exception: any exception of transformers for an incomplete model.
    """
    options = {} if attention is None else {"attn_implementation": attention}
    model, found = make.from_pretrained(
        source,
        config=config,
        dtype=torch.float32,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,  # check_whole reports them
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
    """Check that a model has exactly the weights of its files.

    Allowed are tied weights, weights that the model class ignores, heads of other tasks, and
    towers beside a text model.

    Args:
        model: the model.
        found: transformers' loading information.
        unneeded: prefixes of the names of weights that may be missing.
        parts: whether the files hold a larger model of which this one is a part.
        step: next step in the messages.

    Raises:
        UnfitError: weights are missing, unexpected, or of other shapes.
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
    """Refuse a mixture of experts; the model is built on the meta device, without weights.

    Raises:
        UnfitError: the model routes tokens to experts.
        Exception: any exception of transformers for an invalid configuration.
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
    """Describe the file's weight that is nearest to a missing one, and the next step."""
    names = sorted(extra)
    like = next((x for x in names if x.endswith(f".{missing}")), None)
    if like:
        prefix = like.removesuffix(missing)
        return (
            f"; it has {shortened(like)}: save the model itself, not what wraps it, so that no "
            f"name begins with {shortened(prefix)}"
        )
    near = get_close_matches(missing, names[:COMPARED], 1)
    nearest = f"; the nearest is {shortened(near[0])}" if near else ""
    return f"{nearest}; {step}"


def _lost(model: PreTrainedModel, extra: Iterable[str], *, parts: bool) -> Iterator[str]:
    """Yield the unexpected weights that belong to layers of the model.

    Other heads and towers differ in the first component of their names. Anything deeper is part of
    a layer or an extra layer, as is any other unexpected weight in the base of a language model.
    """
    prefix = f"{model.base_model_prefix}."
    own = {name.removeprefix(prefix).partition(".")[0] for name in model.state_dict()}
    for name in extra:
        more = name.startswith(prefix) and model.can_generate() and not parts
        if more or name.removeprefix(prefix).partition(".")[0] in own:
            yield name
