"""Choose 4 or 8 bits for each layer of a base, so that its program keeps to a size.

The bytes that a program has beyond 4 bits everywhere go where they avoid the largest divergence
from the float model, as :mod:`hydraopt.rounding.sensitivity` estimates it. What ``overrides`` and
``embedding`` say stays as it is.
"""

import logging
import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from ..errors import LoweringError, UsageError, require
from ..formats.codes import GROUP
from ..rounding import round_nearest
from ..rounding.sensitivity import Change, divergences
from ..schemes import EMBEDDING_BITS, SCHEMES, Scheme
from ..sizes import parse_size
from .base_model import BaseModel
from .calibration_texts import NO_TEXTS, Calibration, CalibrationTexts, adapters_by_text
from .quantization import layer_schemes
from .settings import ExportSettings
from .simplify import quantized_embedding

logger = logging.getLogger(__name__)

NARROW, WIDE = "8da4w", "8da8w"
NARROW_EMBEDDING, WIDE_EMBEDDING = "4w", "8w"
EMBEDDING = ""  # its name among those of layers
STEPS = 100_000  # in which bytes are shared out
PROGRAM, PER_LAYER = 65536, 4096  # bytes of a program besides weights; of which for each layer
WHAT = "base size"


class Bytes(NamedTuple):
    """Bytes of a layer in a program by the bits of its weights."""

    narrow: int
    wide: int


@dataclass(frozen=True)
class Room:
    """How many bytes there are, and what for.

    Attributes:
        layers: bytes of each layer to choose bits for by name, and of the token embedding as
            :data:`EMBEDDING`.
        least: bytes of the program with 4 bits wherever it is possible.
        limit: bytes that it may have.
    """

    layers: Mapping[str, Bytes]
    least: int
    limit: int


def check_base_size(settings: ExportSettings, calibration: Calibration | None) -> None:
    """Check a size, and what it is combined with, before anything is loaded.

    Raises:
        UsageError: the size is no size, or does not go with the other settings.
    """
    parse_size(require(settings.base_size, "base size"), 1, WHAT)
    if settings.quantize != NARROW:
        raise UsageError(
            f"a size of the base chooses between 4 and 8 bits for each layer, but all are to be "
            f"{settings.quantize}; leave either out",
            options=["base_size", "quantize"],
        )
    if calibration == NO_TEXTS:
        raise lacks_texts()


def lacks_texts() -> UsageError:
    """Return the error of a size without texts."""
    return UsageError(
        "a size of the base needs texts, on which layers are measured; pass prompts",
        options=["base_size", "calibration"],
    )


def find_room(base: BaseModel, settings: ExportSettings, factors: int, methods: int) -> Room:
    """Count the bytes of a program.

    Args:
        base: the base model, not restructured yet.
        settings: export settings, resolved, with a size.
        factors: bytes of factors that the program will have and the base has not yet.
        methods: number of methods that run the model.

    Raises:
        LoweringError: the base reads no texts, the program is larger than the size even with 4 bits
            for all layers, or an override names no layer.
    """
    if base.vocabulary is None:
        raise LoweringError(
            f"a size of the base needs texts, on which layers are measured, but a base of kind "
            f"{base.kind.name} reads none; choose layers yourself",
            options=["base_size", "override"],
        )
    model = base.model
    schemes = layer_schemes(model, settings)
    given = {name for name in schemes if any(fnmatchcase(name, x) for x in settings.overrides)}
    layers = {name: _bytes(layer) for name, (layer, _) in schemes.items() if name not in given}
    embedding = model.get_input_embeddings()
    if settings.embedding is None:
        narrow, wide = (_embedding_bytes(embedding, x) for x in (NARROW_EMBEDDING, WIDE_EMBEDDING))
        layers[EMBEDDING] = Bytes(narrow, wide)
    else:
        factors += _embedding_bytes(embedding, settings.embedding)
    weights = {layer.weight for layer, _ in schemes.values()} | {embedding.weight}
    others = [*(x for x in model.parameters() if x not in weights), *model.buffers()]
    fixed = sum(x.nbytes for x in others)
    fixed += factors + sum(weight_bytes(*schemes[name]) for name in given)
    fixed += PROGRAM + PER_LAYER * len(schemes) * methods
    least = fixed + sum(x.narrow for x in layers.values())
    most = fixed + sum(x.wide for x in layers.values())
    limit = parse_size(require(settings.base_size, "base size"), most, WHAT)
    if limit < least:
        raise LoweringError(
            f"a base size of {settings.base_size} is {limit:,} bytes, but with 4 bits for all "
            f"layers that can have them this program has {least:,}; pass at least "
            f"{math.ceil(least / 1e4) / 100:.2f}MB",
            options=["base_size"],
        )
    return Room(layers, least, limit)


def with_bits(
    base: BaseModel, settings: ExportSettings, texts: CalibrationTexts, found: Room
) -> ExportSettings:
    """Choose bits for layers and embedding; return settings that say so, with the size in bytes.

    Args:
        base: the base model, not restructured yet.
        settings: export settings, resolved, with a size.
        texts: what layers are measured on.
        found: from :func:`find_room`.
    """
    more = {name: x.wide - x.narrow for name, x in found.layers.items() if x.wide > x.narrow}
    wide = found.layers.keys() - more.keys()  # cannot have 4 bits
    left = found.limit - found.least
    wide |= more.keys() if sum(more.values()) <= left else _measured(base, texts, more, left)
    logger.info("base size: %s", _counts(found.layers, wide))
    embedding = settings.embedding
    if EMBEDDING in found.layers:
        embedding = WIDE_EMBEDDING if EMBEDDING in wide else NARROW_EMBEDDING
    chosen = {name: WIDE for name in found.layers if name in wide and name != EMBEDDING}
    overrides = {**settings.overrides, **chosen}
    return replace(settings, base_size=f"{found.limit}B", embedding=embedding, overrides=overrides)


def check_program_size(settings: ExportSettings, size: int) -> None:
    """Check the bytes of a program, since those beside its weights are an estimate.

    Raises:
        LoweringError: there are more than ``settings``, resolved, allow.
    """
    if settings.base_size is None:
        return
    limit = parse_size(settings.base_size, 1, WHAT)
    if size > limit:
        raise LoweringError(
            f"the program has {size:,} bytes, {size - limit:,} more than asked for, because its "
            f"operators take more than estimated; ask for as many less",
            options=["base_size"],
        )


def choose(gains: Mapping[str, float], sizes: Mapping[str, int], room: int) -> set[str]:
    """Return the names of largest total gain whose sizes are at most ``room``, as a knapsack."""
    step = max(1, -(-sum(sizes.values()) // STEPS))
    costs = {name: -(-size // step) for name, size in sizes.items()}
    left = room // step
    best, better = torch.zeros(left + 1, dtype=torch.float64), {}
    for name, cost in costs.items():
        if cost <= left:
            before, with_it = best[cost:].clone(), best[: left + 1 - cost] + gains[name]
            better[name] = with_it > before
            best[cost:] = torch.where(better[name], with_it, before)
    chosen = set()
    for name in reversed(better):
        if left >= costs[name] and better[name][left - costs[name]]:
            chosen.add(name)
            left -= costs[name]
    return chosen


def _bytes(layer: nn.Linear) -> Bytes:
    wide = weight_bytes(layer, SCHEMES[WIDE])
    narrow = wide if layer.in_features % GROUP else weight_bytes(layer, SCHEMES[NARROW])
    return Bytes(narrow, wide)


def weight_bytes(layer: nn.Linear, scheme: Scheme) -> int:
    """Return the bytes of a layer's weights in a program; a bias counts as other parameters."""
    grid, (rows, width) = scheme.weights, layer.weight.shape
    return 4 * rows * width if grid is None else grid.nbytes(rows, width)


def _embedding_bytes(embedding: nn.Module, scheme: str) -> int:
    count, bits = embedding.weight.numel(), EMBEDDING_BITS[scheme]
    return 4 * count if bits is None else count * bits // 8 + count // GROUP * 4


def _measured(
    base: BaseModel, texts: CalibrationTexts, more: Mapping[str, int], left: int
) -> set[str]:
    """Choose the layers that get ``more`` bytes each, ``left`` in all."""
    model = base.model.requires_grad_(False)
    embedding = model.get_input_embeddings()
    modules = {name: model.get_submodule(name) for name in more if name != EMBEDDING}
    changes = {layer: _rounding(layer) for layer in modules.values()}
    modules[EMBEDDING] = embedding
    changes[embedding] = _embedding_rounding(model) if EMBEDDING in more else _nothing

    def run(rows: slice) -> torch.Tensor:
        tasks = texts.tasks[rows]
        adapters = {task: texts.adapters[task] for task in texts.adapters if task in tasks}
        with adapters_by_text(model, adapters, tasks):
            found = texts.run(model, rows)
        return found.logits if "logits" in found else found.last_hidden_state

    found = divergences(changes, texts.tokens, run, predicts=base.kind.generates)
    return choose({name: found[modules[name]] for name in more}, more, left)


def _rounding(layer: nn.Linear) -> Change:
    """Return what 4 bits change; 8 bits change some per cent of it."""
    rounded = round_nearest(layer.weight.detach(), require(SCHEMES[NARROW].weights, "grid"))
    return lambda x: linear(x, rounded.dense() - layer.weight)


def _embedding_rounding(model: PreTrainedModel) -> Change:
    embedding = model.get_input_embeddings()
    rounded = require(quantized_embedding(model, NARROW_EMBEDDING), "embedding")
    return lambda ids: rounded(ids) - embedding.forward(ids)  # without hooks


def _nothing(_: torch.Tensor) -> torch.Tensor:
    return torch.zeros(())


def _counts(layers: Mapping[str, Bytes], wide: Collection[str]) -> str:
    """Return how many layers of each kind have 8 bits."""
    kinds = Counter(_kind(name) for name in layers)
    found = Counter(_kind(name) for name in wide)
    return "8 bits for " + ", ".join(f"{found[x]} of {kinds[x]} {x}" for x in kinds)


def _kind(name: str) -> str:
    return name.rpartition(".")[2] if name else "embedding"
