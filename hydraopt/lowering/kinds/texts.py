"""Texts on which a model is compared with transformers: short ones, and as long as it matters."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from ..attention import some_text
from .kind import Probe

SHORT, BEYOND = 24, 8  # tokens of a text; how many more than a limit a long one has
LIMITS = ("sliding_window", "local_attention", "original_max_position_embeddings")


def short_text(model: PreTrainedModel, most: int) -> Probe:
    """A text in one call, then in pieces, of which one is a single token."""
    length = min(SHORT, most)
    half = length // 2
    splits = [(length,), (half, half + 1, length)]
    return Probe(f"a text of {length} tokens", some_text(model, length), splits)


def long_text(model: PreTrainedModel, most: int, piece: int) -> Probe | None:
    """A text that is longer than the model's windows and than its rope's original length.

    A few layers run, of which there is one of each kind: the whole model sees short texts.

    Args:
        model: a causal LM.
        most: tokens of the longest text.
        piece: tokens of a call.

    Returns:
        None if ``most`` is below all of these.
    """
    limit = long_limit(model.config, most)
    if limit is None:
        return None
    length = min(most, limit + BEYOND)
    ends = (*range(piece, length, piece), length)
    what = f"a text of {length} tokens, longer than the {limit} of a window or a rope,"
    return Probe(what, some_text(model, length), [ends], _layers(model.config))


def long_limit(config: PretrainedConfig, most: int) -> int | None:
    """The longest window or original rope of a model that texts of ``most`` tokens go beyond."""
    found = [limit for limit in _limits(config.to_dict()) if limit < most]
    return max(found, default=None)


def _limits(settings: Any) -> Iterator[int]:
    if isinstance(settings, dict):
        for name, value in settings.items():
            if name in LIMITS and isinstance(value, int):
                yield value
            yield from _limits(value)


def _layers(config: PretrainedConfig) -> int | None:
    """The fewest first layers of which there is one of each kind."""
    kinds: Sequence[str] = getattr(config.get_text_config(), "layer_types", None) or ["all"]
    return max(kinds.index(kind) for kind in kinds) + 1


@contextmanager
def first_layers(model: PreTrainedModel, count: int | None) -> Iterator[None]:
    """Let ``model`` run its first ``count`` layers only while the block runs; None for all."""
    layers = model.config.get_text_config().num_hidden_layers
    places = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == layers
    ]
    if count is None or len(places) != 1:
        yield
        return
    whole = model.get_submodule(places[0])
    model.set_submodule(places[0], whole[:count])
    try:
        yield
    finally:
        model.set_submodule(places[0], whole)
