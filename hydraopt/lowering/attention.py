"""Attention over a KV cache that is part of the program, in two forms.

``llm`` is ExecuTorch's own: ``llama::update_cache`` and ``llama::custom_sdpa``, which attend over
the filled part of the cache only and read grouped queries in place. ``portable`` is made of
operators that every runtime has and attends over all positions.

Both are registered with transformers' ``AttentionInterface``, so that a model's own code stays as
it is: each attention layer finds its cache in itself, see :func:`add_caches`.
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
# Not -inf: a block of keys that are all masked would give exp(-inf + inf).
MASKED = -1e9
TRIAL = 8  # tokens
UNSUPPORTED = ("softcap", "s_aux")  # of attention functions' arguments


@dataclass
class Step:
    """The running call, as the layers see it.

    Attributes:
        positions: of its tokens, int64 ``[S]``; none before the first call.
        start: the first of them as a number.
        masks: by window; layers share them.
    """

    positions: torch.Tensor = field(default_factory=partial(torch.arange, 0))
    start: int = 0
    masks: dict[int | None, torch.Tensor] = field(default_factory=dict)

    def begin(self, positions: torch.Tensor, start: int) -> None:
        """Another call."""
        self.positions, self.start = positions, start
        self.masks = {}

    def mask(self, length: int, window: int | None) -> torch.Tensor:
        """What to add to the scores of a cache of ``length`` positions; see :func:`visible`."""
        if window not in self.masks:
            seen = visible(self.positions, length, window)
            self.masks[window] = torch.where(seen, 0.0, MASKED)
        return self.masks[window]


class LlmCache(nn.Module):
    """Keys and values of one layer, ``[1, positions, heads, size]`` float32."""

    def __init__(
        self, key: torch.Tensor, value: torch.Tensor, length: int, window: int | None, step: Step
    ):
        super().__init__()
        self.window, self.step = window, step
        for name, x in (("keys", key), ("values", value)):
            self.register_buffer(name, x.new_zeros(1, length, x.shape[1], x.shape[3]))

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Store ``key`` and ``value [1, H, S, D]``, attend; ``[1, S, heads of query, D]``."""
        start, mask = self.step.start, None
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        torch.ops.llama.update_cache(key, self.keys, start)
        torch.ops.llama.update_cache(value, self.values, start)
        if self.window is not None:
            mask = self.step.mask(self.keys.shape[1], self.window)
        return torch.ops.llama.custom_sdpa(
            query, self.keys, self.values, start, mask, 0.0, mask is None, scale
        )


class PortableCache(nn.Module):
    """Keys and values of one layer, ``[heads * positions, size]`` float32.

    With one index for head and position, a write changes the cache where it lies, and a read is a
    view ``[heads, positions, size]`` of it. The queries of a group are rows of one product, so
    that no key is repeated.
    """

    def __init__(
        self, key: torch.Tensor, value: torch.Tensor, length: int, window: int | None, step: Step
    ):
        super().__init__()
        self.window, self.step = window, step
        self.heads, self.length = key.shape[1], length
        for name, x in (("keys", key), ("values", value)):
            self.register_buffer(name, x.new_zeros(self.heads * length, x.shape[3]))
        self.register_buffer("first", torch.arange(self.heads)[:, None] * length)

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
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
        shares = torch.softmax(scores + self.step.mask(self.length, self.window), -1)
        found = torch.bmm(shares.view(self.heads, -1, self.length), values)
        return found.view(1, -1, count, values.shape[-1]).transpose(1, 2)


CACHES = {"llm": LlmCache, "portable": PortableCache}


def visible(positions: torch.Tensor, length: int, window: int | None) -> torch.Tensor:
    """Which keys each query sees, bool ``[S, length]``.

    Args:
        positions: of the queries, ``[S]``.
        length: positions of the cache.
        window: each query sees so many keys, itself included; None: all before it.
    """
    last, keys = positions[:, None], torch.arange(length)
    seen = keys <= last
    return seen if window is None else seen & (keys > last - window)


def add_caches(model: PreTrainedModel, kind: str, length: int) -> Step:
    """Give every attention layer of ``model`` a cache of ``length`` positions, in place.

    The model runs on a token, to see the layers that attend, their sizes and their masks; then on
    a few, whole and in pieces, since some architectures keep more than keys and values.

    Args:
        model: in float32, not changed yet.
        kind: one of :data:`ATTENTION`.
        length: at least 8.

    Returns:
        Where to put each call's positions, for all layers.

    Raises:
        LoweringError: an unknown kind, or a model whose attention cannot be replaced.
    """
    if kind not in ATTENTION:
        raise LoweringError(f"unknown attention {kind!r}, expected {' or '.join(ATTENTION)}")
    register_operators()
    name, step = model.config.model_type, Step()
    caches: dict[nn.Module, nn.Module] = {}

    def look(module: nn.Module, query, key, value, mask, **options) -> tuple[torch.Tensor, None]:
        _check_arguments(name, kind, key, value, options)
        caches[module] = CACHES[kind](key, value, length, _window(name, mask), step)
        return query.new_zeros(1, query.shape[2], query.shape[1], value.shape[3]), None

    _register("hydraopt_look", look, partial(_mask_rows, length))
    _register("hydraopt", _attend, lambda *_, **__: None)
    wanted = _run(model, 0, TRIAL)
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
    _check_pieces(model, step, wanted)
    return step


def some_text(model: PreTrainedModel, length: int) -> torch.Tensor:
    """Token ids of all over the vocabulary, without the one that pads, int64 ``[1, length]``."""
    vocabulary = model.get_input_embeddings().num_embeddings
    ids = (torch.arange(length) + 1) * 7919 % vocabulary
    padding = getattr(model.config.get_text_config(), "pad_token_id", None)
    if padding is not None:
        ids = ids.where(ids != padding, (padding + 1) % vocabulary)
    return ids[None]


def _run(model: PreTrainedModel, start: int, end: int) -> torch.Tensor:
    """Logits after tokens of some text at positions ``start`` to ``end``, float32 ``[n]``."""
    positions = torch.arange(start, end)
    ids = some_text(model, end)[:, start:]
    what = f"{model.config.model_type} does not run without a cache of its own"
    with torch.no_grad(), refusing(what):
        found = model(input_ids=ids, position_ids=positions[None], use_cache=False)
    return found.logits[0, -1]


def _check_pieces(model: PreTrainedModel, step: Step, wanted: torch.Tensor) -> None:
    with native_log():
        for start, end in ((0, TRIAL - 3), (TRIAL - 3, TRIAL)):
            step.begin(torch.arange(start, end), start)
            found = _run(model, start, end)
    clear_caches(model)
    if not (found - wanted).norm() <= 1e-3 * wanted.norm():
        raise LoweringError(
            f"{model.config.model_type} computes other logits in pieces than as a whole, so that "
            "it keeps more than keys and values; this architecture cannot be exported"
        )


def clear_caches(model: nn.Module) -> None:
    """Fill the caches of ``model`` with zeros, as a program starts."""
    for cache in (x for x in model.modules() if isinstance(x, LlmCache | PortableCache)):
        cache.keys.zero_()
        cache.values.zero_()


def _mask_rows(length: int, *_, mask_function, **__) -> torch.Tensor:
    """What the queries at the first and the last two positions see, bool ``[1, 1, 3, length]``."""
    zero = torch.zeros(1, 1, 1, 1, dtype=torch.int64)
    rows, keys = _rows(length), torch.arange(length)
    return mask_function(zero, zero, rows[:, None], keys).expand(1, 1, len(rows), length)


def _rows(length: int) -> torch.Tensor:
    """With these, causal masks and windows differ from chunks, which grow, and from all others."""
    return torch.tensor([0, length - 2, length - 1])


def _window(name: str, mask: torch.Tensor | None) -> int | None:
    """The window with which the rows of a model's mask are :func:`visible`."""
    if isinstance(mask, torch.Tensor) and mask.dtype == torch.bool:
        length, count = mask.shape[-1], int(mask[0, 0, -1].sum())
        window = None if count == length else count
        if torch.equal(mask[0, 0], visible(_rows(length), length, window)):
            return window
    raise LoweringError(
        f"the attention of {name} masks other keys than later ones and those before a window; "
        "this architecture cannot be exported"
    )


def _attend(module: nn.Module, query, key, value, _mask, scaling=None, **_):
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    return module.cache(query, key, value, scale), None


def _check_arguments(
    name: str, kind: str, key: torch.Tensor, value: torch.Tensor, options: dict
) -> None:
    for option in UNSUPPORTED:
        if options.get(option) is not None:
            raise LoweringError(
                f"the attention of {name} takes {option}, which ExecuTorch's attention operator "
                "lacks; this architecture cannot be exported"
            )
    if kind == "llm" and key.shape != value.shape:
        raise LoweringError(
            f"the attention of {name} has keys of {key.shape[3]} and values of {value.shape[3]} "
            "numbers, expected as many for ExecuTorch's attention operator; export with "
            "portable attention",
            options=["attention=portable"],
        )


def _register(name: str, attend, mask) -> None:
    AttentionInterface.register(name, attend)
    AttentionMaskInterface.register(name, mask)
