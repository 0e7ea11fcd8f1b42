"""The choices of an export: how a base model becomes a program."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import LoweringError
from ..models import context_length

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ..formats.manifest import Manifest

DEFAULT_LENGTH, DEFAULT_PREFILL = 2048, 128
SHORTEST, SHORTEST_PREFILL = 8, 4  # the export traces a prompt of 4


@dataclass(frozen=True)
class ExportSettings:
    """How an export makes a program of a base model.

    Attributes:
        quantize: ``none`` (float32) or ``8da4w``, for the base's linear layers.
        embedding: ``4w``, ``8w`` or ``none``, for the token embedding; by default ``4w`` if the
            linear layers are quantised.
        attention: ``llm``, ExecuTorch's operators for language models, or ``portable``; without
            meaning for other kinds of base models.
        max_length: positions of the KV cache, or the most tokens of a text for an encoder; by
            default 2048 or the base's, whichever is smaller.
        prefill_length: most tokens of one call of ``forward``, for which its memory is planned; by
            default 128 or ``max_length - 1``, whichever is smaller.
    """

    quantize: str = "none"
    embedding: str | None = None
    attention: str | None = "llm"
    max_length: int | None = None
    prefill_length: int | None = None

    @classmethod
    def of(cls, manifest: "Manifest") -> "ExportSettings":
        """Those with which a bundle was exported."""
        return cls(
            manifest.quantize,
            manifest.embedding,
            manifest.attention,
            manifest.max_length,
            manifest.prefill_length,
        )

    def resolved(self, model: "PreTrainedModel") -> "ExportSettings":
        """With every default filled in for a causal LM.

        Raises:
            LoweringError: a length that the base does not have, or too few to export.
        """
        max_length = cache_length(model, self.max_length)
        return replace(
            self,
            embedding=self.embedding or ("none" if self.quantize == "none" else "4w"),
            max_length=max_length,
            prefill_length=call_length(max_length, self.prefill_length),
        )


def cache_length(model: "PreTrainedModel", max_length: int | None) -> int:
    """Positions of the KV cache: as asked, or 2048 or the base's, whichever is smaller.

    Raises:
        LoweringError: more than the base has, or too few to export.
    """
    limit = _one_rope(model, context_length(model, DEFAULT_LENGTH))
    return text_length(limit, max_length, SHORTEST)


def _one_rope(model: "PreTrainedModel", limit: int) -> int:
    """``limit``, or the tokens after which a longrope changes: a program has one of its two."""
    rope = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    if rope.get("rope_type") != "longrope":
        return limit
    return min(limit, rope.get("original_max_position_embeddings", limit))


def text_length(limit: int, max_length: int | None, shortest: int = SHORTEST_PREFILL) -> int:
    """Most tokens of a text: as asked, or 2048 or ``limit``, whichever is smaller.

    Raises:
        LoweringError: more than ``limit``, the base's, or fewer than ``shortest``.
    """
    whose = "the base model's positions with one rope; pass another --max-length"
    if max_length is None:
        return min(limit, DEFAULT_LENGTH)
    return _checked("max length", max_length, shortest, limit, whose)


def call_length(max_length: int, prefill_length: int | None) -> int:
    """Most tokens of one call: as asked, or 128 or all but one position, whichever is smaller.

    Raises:
        LoweringError: more than the KV cache takes, or too few to export.
    """
    limit = max_length - 1
    whose = "one less than the positions of the KV cache; pass another --prefill-length"
    if prefill_length is None:
        return min(limit, DEFAULT_PREFILL)
    return _checked("prefill length", prefill_length, SHORTEST_PREFILL, limit, whose)


def _checked(what: str, length: int, shortest: int, limit: int, whose: str) -> int:
    if not shortest <= length <= limit:
        raise LoweringError(f"{what} is {length}, expected {shortest} to {limit}, {whose}")
    return length
