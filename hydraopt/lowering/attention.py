"""Attention over a KV cache that is part of the program, in two forms.

``llm`` is ExecuTorch's own: ``llama::update_cache`` and ``llama::custom_sdpa``, which attend over
the filled part of the cache only and read grouped queries in place. ``portable`` is made of
operators that every runtime has and attends over all positions.

Both are registered with transformers' ``AttentionInterface``, so that a model's own code stays as
it is: each attention layer finds its cache in itself, see :func:`add_caches`.
"""

from dataclasses import dataclass
from functools import partial

import torch
from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401  registers llama::*
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from ..errors import LoweringError

ATTENTION = ("llm", "portable")
# Not -inf: a block of keys that are all masked would give exp(-inf + inf).
MASKED = -1e9
UNSUPPORTED = ("softcap", "s_aux")  # of attention functions' arguments


@dataclass
class Step:
    """The running call: its token positions, int64 ``[S]``, and the first of them as a number."""

    positions: torch.Tensor | None = None
    start: int = 0


class LlmCache(nn.Module):
    """Keys and values of one layer, ``[1, positions, heads, size]`` float32."""

    def __init__(self, key: torch.Tensor, value: torch.Tensor, length: int, step: Step):
        super().__init__()
        self.step = step
        for name, x in (("keys", key), ("values", value)):
            self.register_buffer(name, x.new_zeros(1, length, x.shape[1], x.shape[3]))

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        """Store ``key`` and ``value [1, H, S, D]``, attend; ``[1, S, heads of query, D]``."""
        start = self.step.start
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        torch.ops.llama.update_cache(key, self.keys, start)
        torch.ops.llama.update_cache(value, self.values, start)
        mask = None
        if window is not None and window < self.keys.shape[1]:
            mask = visible(self.step.positions, self.keys.shape[1], window)
        return torch.ops.llama.custom_sdpa(
            query, self.keys, self.values, start, mask, 0.0, mask is None, scale
        )


class PortableCache(nn.Module):
    """Keys and values of one layer, ``[heads * positions, size]`` float32.

    With one index for head and position, a write changes the cache where it lies, and a read is a
    view ``[heads, positions, size]`` of it. The queries of a group are rows of one product, so
    that no key is repeated.
    """

    def __init__(self, key: torch.Tensor, value: torch.Tensor, length: int, step: Step):
        super().__init__()
        self.step, self.heads, self.length = step, key.shape[1], length
        for name, x in (("keys", key), ("values", value)):
            self.register_buffer(name, x.new_zeros(self.heads * length, x.shape[3]))
        self.register_buffer("first", torch.arange(self.heads)[:, None] * length)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        """As :meth:`LlmCache.forward`."""
        positions = self.step.positions
        places = (self.first + positions).flatten()
        self.keys.index_put_([places], key.reshape(-1, key.shape[-1]))
        self.values.index_put_([places], value.reshape(-1, value.shape[-1]))
        keys, values = (x.view(self.heads, self.length, -1) for x in (self.keys, self.values))
        size, count = query.shape[3], positions.shape[0]
        grouped = (query * scale).reshape(self.heads, -1, size)
        scores = torch.bmm(grouped, keys.transpose(1, 2))
        scores = scores.view(self.heads, -1, count, self.length)
        shares = torch.softmax(scores + visible(positions, self.length, window), -1)
        found = torch.bmm(shares.view(self.heads, -1, self.length), values)
        return found.view(1, -1, count, values.shape[-1]).transpose(1, 2)


CACHES = {"llm": LlmCache, "portable": PortableCache}


def visible(positions: torch.Tensor, length: int, window: int | None) -> torch.Tensor:
    """What to add to scores: 0 for keys up to each position, ``[S, length]`` float32.

    Args:
        positions: of the queries, ``[S]``.
        length: positions of the cache.
        window: each query sees so many keys, itself included; None: all before it.
    """
    last, keys = positions[:, None], torch.arange(length)
    seen = keys <= last
    if window is not None:
        seen = seen & (keys > last - window)
    return torch.where(seen, 0.0, MASKED)


def add_caches(model: PreTrainedModel, kind: str, length: int) -> Step:
    """Give every attention layer of ``model`` a cache of ``length`` positions, in place.

    The model runs once on one token, to see the layers that attend and their sizes.

    Returns:
        Where to put each call's positions, for all layers.

    Raises:
        LoweringError: an unknown kind, or a model whose attention cannot be replaced.
    """
    if kind not in ATTENTION:
        raise LoweringError(f"unknown attention {kind!r}, expected {' or '.join(ATTENTION)}")
    step = Step()
    make = partial(CACHES[kind], length=length, step=step)
    found: dict[nn.Module, nn.Module] = {}

    def look(module: nn.Module, query, key, value, _mask, **options) -> tuple[torch.Tensor, None]:
        _check_options(model, options)
        found[module] = make(key, value)
        return query.new_zeros(1, query.shape[2], query.shape[1], value.shape[3]), None

    _register("hydraopt_look", look)
    _register("hydraopt", _attend)
    try:
        model.set_attn_implementation("hydraopt_look")
        with torch.no_grad():
            ids = torch.zeros(1, 1, dtype=torch.int64)
            model(input_ids=ids, position_ids=ids, use_cache=False)
    except ValueError as error:
        raise LoweringError(f"{model.config.model_type}: {error}") from error
    layers = model.config.get_text_config().num_hidden_layers
    if len(found) != layers:
        raise LoweringError(
            f"{len(found)} of the {layers} layers of this {model.config.model_type} attend through "
            "transformers' AttentionInterface, expected all; this architecture cannot be exported"
        )
    for module, cache in found.items():
        module.add_module("cache", cache)
    model.set_attn_implementation("hydraopt")
    return step


def _attend(module: nn.Module, query, key, value, _mask, scaling=None, sliding_window=None, **_):
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    return module.cache(query, key, value, scale, sliding_window), None


def _check_options(model: PreTrainedModel, options: dict) -> None:
    for name in UNSUPPORTED:
        if options.get(name) is not None:
            raise LoweringError(
                f"the attention of {model.config.model_type} takes {name}, which ExecuTorch's "
                "attention operator lacks; this architecture cannot be exported"
            )


def _register(name: str, function) -> None:
    """A way to attend; it makes masks of its own."""
    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, lambda *_, **__: None)
