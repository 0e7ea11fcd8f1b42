"""The choices of an export: how a base model becomes a program."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import LoweringError
from ..formats.models import CausalLm, Encoder
from ..schemes import DEFAULT_SCHEME, Scheme, find_scheme
from .backends import DEFAULT

if TYPE_CHECKING:
    from ..formats.manifest import Manifest

DEFAULT_LENGTH = 2048
SHORTEST_CALL = 4  # tokens: the export traces as many


@dataclass(frozen=True)
class ExportSettings:
    """How an export makes a program of a base model.

    Attributes:
        quantize: scheme of the base's linear layers, one of :data:`~hydraopt.schemes.SCHEMES`.
        embedding: scheme of the token embedding, one of
            :data:`~hydraopt.schemes.EMBEDDING_BITS`; by default that of the linear layers' scheme.
        attention: ``llm``, ExecuTorch's operators for language models, or ``portable``; without
            meaning for other kinds of base models.
        max_length: positions of the KV cache, or the most tokens of a text for an encoder; by
            default 2048 or the base's, whichever is smaller.
        prefill_length: most tokens of one call of ``forward``, for which its memory is planned; by
            default 128 or ``max_length - 1``, whichever is smaller.
        backend: what runs the matrix products, one of :data:`~.backends.BACKENDS`.
    """

    quantize: str = DEFAULT_SCHEME
    embedding: str | None = None
    attention: str | None = "llm"
    max_length: int | None = None
    prefill_length: int | None = None
    backend: str = DEFAULT

    @property
    def scheme(self) -> Scheme:
        """That of the linear layers.

        Raises:
            LoweringError: there is none of this name.
        """
        return find_scheme(self.quantize)

    @classmethod
    def of(cls, manifest: "Manifest") -> "ExportSettings":
        """Those with which a bundle was exported."""
        model, found = manifest.model, cls(manifest.quantize, None, None, backend=manifest.backend)
        if isinstance(model, CausalLm | Encoder):
            found = replace(found, embedding=model.embedding, max_length=model.max_length)
        if isinstance(model, CausalLm):
            length = model.prefill_length
            found = replace(found, attention=model.attention, prefill_length=length)
        return found


def text_length(limit: int, max_length: int | None, shortest: int = SHORTEST_CALL) -> int:
    """Most tokens of a text: as asked, or 2048 or ``limit``, whichever is smaller.

    Raises:
        LoweringError: more than ``limit``, the base's, or fewer than ``shortest``.
    """
    whose = "the base model's positions with one rope"
    if max_length is None:
        return min(limit, DEFAULT_LENGTH)
    return check_length("max_length", max_length, shortest, limit, whose)


def check_length(name: str, length: int, shortest: int, limit: int, whose: str) -> int:
    """``length``, the setting of this name, if it lies within limits.

    Raises:
        LoweringError: it does not; ``whose`` says what the limit is.
    """
    if not shortest <= length <= limit:
        raise LoweringError(
            f"{name.replace('_', ' ')} is {length}, expected {shortest} to {limit}, {whose}; pass "
            "another",
            options=[name],
        )
    return length
