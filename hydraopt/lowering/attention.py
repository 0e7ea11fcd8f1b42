"""Attention over a KV cache inside the program, in two variants.

``llm`` uses ExecuTorch's operators ``llama::update_cache`` and ``llama::custom_sdpa``, which attend
over the filled part of the cache only and support grouped queries. ``portable`` uses operators of
every runtime and attends over all positions.

Both are registered with transformers' ``AttentionInterface``, so that model code is unchanged; each
attention layer holds its cache as a submodule, see :func:`add_caches`.
"""

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from ..errors import LoweringError
from ..native_log import native_log
from ..private.executorch import register_operators
from .refusing import refusing

ATTENTION = ("llm", "portable")
# Not -inf: a fully masked block of keys would compute exp(-inf + inf).
MASKED = -1e9
TRIAL = 8  # tokens
UNSUPPORTED = ("softcap", "s_aux")  # arguments of attention functions


@dataclass
class Call:
    """State of the current call, shared by all attention layers.

    Attributes:
        positions: positions of the call's tokens, int64 ``[S]``; empty before the first call.
        start: the first position as an integer.
        masks: attention masks by window.
    """

    positions: torch.Tensor = field(default_factory=partial(torch.arange, 0))
    start: int = 0
    masks: dict[int | None, torch.Tensor] = field(default_factory=dict)

    def begin(self, positions: torch.Tensor, start: int) -> None:
        """Start a call."""
        self.positions, self.start = positions, start
        self.masks = {}

    def mask(self, length: int, window: int | None) -> torch.Tensor:
        """Return the additive mask over a cache of ``length`` positions; see :func:`visible`."""
        if window not in self.masks:
            seen = visible(self.positions, length, window)
            self.masks[window] = torch.where(seen, 0.0, MASKED)
        return self.masks[window]


class LlmCache(nn.Module):
    """KV cache of one layer, ``[1, positions, heads, size]`` float32, for ``llm`` attention."""

    def __init__(
        self, key: torch.Tensor, value: torch.Tensor, length: int, window: int | None, call: Call
    ):
        super().__init__()
        self.window, self.call = window, call
        for name, x in (("keys", key), ("values", value)):
            self.register_buffer(name, x.new_zeros(1, length, x.shape[1], x.shape[3]))

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Store ``key`` and ``value [1, H, S, D]`` and attend; ``[1, S, query heads, D]``."""
        start, mask = self.call.start, None
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        torch.ops.llama.update_cache(key, self.keys, start)
        torch.ops.llama.update_cache(value, self.values, start)
        if self.window is not None:
            mask = self.call.mask(self.keys.shape[1], self.window)
        return torch.ops.llama.custom_sdpa(
            query, self.keys, self.values, start, mask, 0.0, mask is None, scale
        )


class PortableCache(nn.Module):
    """KV cache of one layer, ``[heads * positions, size]`` float32, for ``portable`` attention.

    Head and position share one index, so that a write happens in place and a read is a view
    ``[heads, positions, size]``. Queries of a group are rows of one product; keys are not repeated.
    """

    def __init__(
        self, key: torch.Tensor, value: torch.Tensor, length: int, window: int | None, call: Call
    ):
        super().__init__()
        self.window, self.call = window, call
        self.heads, self.length = key.shape[1], length
        for name, x in (("keys", key), ("values", value)):
            self.register_buffer(name, x.new_zeros(self.heads * length, x.shape[3]))
        self.register_buffer("first", torch.arange(self.heads)[:, None] * length)

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """As :meth:`LlmCache.forward`."""
        positions = self.call.positions
        places = (self.first + positions).flatten()
        self.keys.index_put_([places], key.reshape(-1, key.shape[-1]))
        self.values.index_put_([places], value.reshape(-1, value.shape[-1]))
        keys, values = (x.view(self.heads, self.length, -1) for x in (self.keys, self.values))
        size, count = query.shape[3], positions.shape[0]
        grouped = (query * scale).reshape(self.heads, -1, size)
        scores = torch.bmm(grouped, keys.transpose(1, 2))
        scores = scores.view(self.heads, -1, count, self.length)
        shares = torch.softmax(scores + self.call.mask(self.length, self.window), -1)
        output = torch.bmm(shares.view(self.heads, -1, self.length), values)
        return output.view(1, -1, count, values.shape[-1]).transpose(1, 2)


CACHES = {"llm": LlmCache, "portable": PortableCache}


def visible(positions: torch.Tensor, length: int, window: int | None) -> torch.Tensor:
    """Return which keys each query attends to, bool ``[S, length]``.

    Args:
        positions: positions of the queries, ``[S]``.
        length: positions of the cache.
        window: number of keys per query, including its own; None for all earlier keys.
    """
    last, keys = positions[:, None], torch.arange(length)
    seen = keys <= last
    return seen if window is None else seen & (keys > last - window)


def add_caches(model: PreTrainedModel, attention: str, length: int) -> Call:
    """Add a KV cache of ``length`` positions to every attention layer, in place.

    Runs the model on one token to find its attention layers, their sizes and masks, then on a few
    tokens, at once and in pieces, to detect state other than keys and values.

    Args:
        model: unmodified model in float32.
        attention: one of :data:`ATTENTION`.
        length: positions of the cache, at least 8.

    Returns:
        The state that receives the positions of each call.

    Raises:
        LoweringError: ``attention`` is unknown, or the model's attention cannot be replaced.
    """
    if attention not in ATTENTION:
        raise LoweringError(f"unknown attention {attention!r}, expected {' or '.join(ATTENTION)}")
    register_operators()
    name, call = model.config.model_type, Call()
    caches: dict[nn.Module, nn.Module] = {}

    def look(module: nn.Module, query, key, value, mask, **options) -> tuple[torch.Tensor, None]:
        _check_arguments(name, attention, key, value, options)
        caches[module] = CACHES[attention](key, value, length, _window(name, mask), call)
        return query.new_zeros(1, query.shape[2], query.shape[1], value.shape[3]), None

    _register("hydraopt_look", look, partial(_trial_mask, length))
    _register("hydraopt", _attend, lambda *_, **__: None)
    reference = _run(model, 0, TRIAL)
    model.set_attn_implementation("hydraopt_look")
    _run(model, 0, 1)
    layers = model.config.get_text_config().num_hidden_layers
    if len(caches) != layers:
        raise LoweringError(
            f"{len(caches)} of the {layers} layers of this {name} attend through "
            "transformers' AttentionInterface, expected all; this architecture cannot be exported"
        )
    for module, cache in caches.items():
        module.add_module("cache", cache)
    model.set_attn_implementation("hydraopt")
    _check_pieces(model, call, reference)
    return call


def some_text(model: PreTrainedModel, length: int) -> torch.Tensor:
    """Return token ids from all over the vocabulary, without padding, int64 ``[1, length]``."""
    vocabulary = model.get_input_embeddings().num_embeddings
    ids = (torch.arange(length) + 1) * 7919 % vocabulary
    padding = getattr(model.config.get_text_config(), "pad_token_id", None)
    if padding is not None:
        ids = ids.where(ids != padding, (padding + 1) % vocabulary)
    return ids[None]


def _run(model: PreTrainedModel, start: int, end: int) -> torch.Tensor:
    """Run tokens ``start`` to ``end`` of a text; logits after the last, float32 ``[n]``."""
    positions = torch.arange(start, end)
    ids = some_text(model, end)[:, start:]
    what = f"{model.config.model_type} does not run without a cache of its own"
    with torch.no_grad(), refusing(what):
        output = model(input_ids=ids, position_ids=positions[None], use_cache=False)
    return output.logits[0, -1]


def _check_pieces(model: PreTrainedModel, call: Call, reference: torch.Tensor) -> None:
    with native_log():
        for start, end in ((0, TRIAL - 3), (TRIAL - 3, TRIAL)):
            call.begin(torch.arange(start, end), start)
            logits = _run(model, start, end)
    clear_caches(model)
    if not (logits - reference).norm() <= 1e-3 * reference.norm():
        raise LoweringError(
            f"{model.config.model_type} computes other logits in pieces than as a whole, so that "
            "it keeps more than keys and values; this architecture cannot be exported"
        )


def clear_caches(model: nn.Module) -> None:
    """Zero the caches of ``model``, as when a program is loaded."""
    for cache in (x for x in model.modules() if isinstance(x, LlmCache | PortableCache)):
        cache.keys.zero_()
        cache.values.zero_()


def _trial_mask(length: int, *_, mask_function, **__) -> torch.Tensor:
    """Return the mask of the first and the last two queries, bool ``[1, 1, 3, length]``."""
    zero = torch.zeros(1, 1, 1, 1, dtype=torch.int64)
    queries, keys = _trial_queries(length), torch.arange(length)
    return mask_function(zero, zero, queries[:, None], keys).expand(1, 1, len(queries), length)


def _trial_queries(length: int) -> torch.Tensor:
    """Return the queries that tell causal masks and windows from chunked and other masks."""
    return torch.tensor([0, length - 2, length - 1])


def _window(name: str, mask: torch.Tensor | None) -> int | None:
    """Return the window of a model's mask; raise ``LoweringError`` for any other mask."""
    if isinstance(mask, torch.Tensor) and mask.dtype == torch.bool:
        length, count = mask.shape[-1], int(mask[0, 0, -1].sum())
        window = None if count == length else count
        if torch.equal(mask[0, 0], visible(_trial_queries(length), length, window)):
            return window
    raise LoweringError(
        f"the attention of {name} masks other keys than later ones and those before a window; "
        "this architecture cannot be exported"
    )


def _attend(module: nn.Module, query, key, value, _mask, scaling=None, **_):
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    return module.cache(query, key, value, scale), None


def _check_arguments(
    name: str, attention: str, key: torch.Tensor, value: torch.Tensor, options: dict
) -> None:
    for option in UNSUPPORTED:
        if options.get(option) is not None:
            raise LoweringError(
                f"the attention of {name} takes {option}, which ExecuTorch's attention operator "
                "lacks; this architecture cannot be exported"
            )
    if attention == "llm" and key.shape != value.shape:
        raise LoweringError(
            f"the attention of {name} has keys of {key.shape[3]} and values of {value.shape[3]} "
            "numbers, expected as many for ExecuTorch's attention operator; export with "
            "portable attention",
            options=["attention=portable"],
        )


def _register(name: str, attend, mask) -> None:
    AttentionInterface.register(name, attend)
    AttentionMaskInterface.register(name, mask)
