"""Short and long texts on which a model is compared with transformers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from ..attention import some_text
from .kind import Probe

SHORT, BEYOND = 24, 8  # tokens of a short text; tokens of a long one beyond a limit
LIMITS = ("sliding_window", "local_attention", "original_max_position_embeddings")


def short_text(model: PreTrainedModel, most: int) -> Probe:
    """Return a text to run in one call, then in pieces, one of them a single token."""
    length = min(SHORT, most)
    half = length // 2
    splits = [(length,), (half, half + 1, length)]
    return Probe(f"a text of {length} tokens", some_text(model, length), splits)


def long_text(model: PreTrainedModel, most: int, piece: int) -> Probe | None:
    """Return a text longer than the model's windows and its rope's original length.

    Only the first layers run, up to one of each type; the whole model runs on short texts.

    Args:
        model: a causal LM.
        most: length of the longest text in tokens.
        piece: tokens per call.

    Returns:
        The text; None if no limit is below ``most``.
    """
    limit = long_limit(model.config, most)
    if limit is None:
        return None
    length = min(most, limit + BEYOND)
    ends = (*range(piece, length, piece), length)
    what = f"a text of {length} tokens, longer than the {limit} of a window or a rope,"
    return Probe(what, some_text(model, length), [ends], _layers(model.config))


def long_limit(config: PretrainedConfig, most: int) -> int | None:
    """Return the longest window or original rope length below ``most`` tokens, if any."""
    found = [limit for limit in _limits(config.to_dict()) if limit < most]
    return max(found, default=None)


def _limits(settings: Any) -> Iterator[int]:
    if isinstance(settings, dict):
        for name, value in settings.items():
            if name in LIMITS and isinstance(value, int):
                yield value
            yield from _limits(value)


def _layers(config: PretrainedConfig) -> int | None:
    """Return how many first layers include every layer type."""
    kinds: Sequence[str] = getattr(config.get_text_config(), "layer_types", None) or ["all"]
    return max(kinds.index(kind) for kind in kinds) + 1


@contextmanager
def first_layers(model: PreTrainedModel, count: int | None) -> Iterator[None]:
    """Run only the first ``count`` layers of ``model`` in the block; None for all."""
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
