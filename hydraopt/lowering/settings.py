"""``ExportSettings``: scheme, attention and lengths of a program."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..errors import LoweringError
from ..formats.models import CausalLm, Encoder
from ..schemes import DEFAULT_SCHEME, Scheme, find_scheme
from .backends import DEFAULT

if TYPE_CHECKING:
    from ..formats.manifest import Manifest

DEFAULT_LENGTH = 2048
SHORTEST_CALL = 4  # tokens; the export traces as many


@dataclass(frozen=True)
class ExportSettings:
    """Settings of an export; None stands for the default.

    Attributes:
        quantize: scheme of the linear layers, one of :data:`~hydraopt.schemes.SCHEMES`.
        embedding: scheme of the token embedding, one of
            :data:`~hydraopt.schemes.EMBEDDING_BITS`; by default the one that goes with
            ``quantize``.
        attention: ``llm`` for ExecuTorch's operators for language models, or ``portable``; ignored
            for other kinds of base models.
        max_length: length of the KV cache in tokens, or of an encoder's longest text; by default
            2048 or the base's limit, whichever is smaller.
        prefill_length: maximum number of tokens per call of ``forward``; memory is planned for it.
            By default 128 or ``max_length - 1``, whichever is smaller.
        backend: backend of the matrix products, one of :data:`~.backends.BACKENDS`.
        overrides: name of a linear layer, or a pattern such as ``*.down_proj`` -> its scheme in
            place of ``quantize``; the last pattern that fits counts.
        base_size: bytes of the program, such as ``110MB``, or ``85%`` of those with 8 bits for all
            layers: those that ``overrides`` and ``embedding`` leave open get 4 or 8 bits, as
            changes the model's predictions least. Resolved, it is in bytes.
    """

    quantize: str = DEFAULT_SCHEME
    embedding: str | None = None
    attention: str | None = "llm"
    max_length: int | None = None
    prefill_length: int | None = None
    backend: str = DEFAULT
    overrides: Mapping[str, str] = field(default_factory=dict)
    base_size: str | None = None

    @property
    def scheme(self) -> Scheme:
        """The scheme of the linear layers.

        Raises:
            LoweringError: the scheme is unknown.
        """
        return find_scheme(self.quantize)

    @property
    def embedding_or_default(self) -> str | None:
        """The scheme of the token embedding; None if a size of the base is to choose it."""
        return self.embedding or (None if self.base_size else self.scheme.embedding)

    @classmethod
    def of(cls, manifest: "Manifest") -> "ExportSettings":
        """Return the settings with which a bundle was exported."""
        model = manifest.model
        found = cls(
            manifest.quantize,
            None,
            None,
            backend=manifest.backend,
            overrides=manifest.overrides,
        )
        if isinstance(model, CausalLm | Encoder):
            found = replace(found, embedding=model.embedding, max_length=model.max_length)
        if isinstance(model, CausalLm):
            length = model.prefill_length
            found = replace(found, attention=model.attention, prefill_length=length)
        return found


def text_length(limit: int, max_length: int | None, shortest: int = SHORTEST_CALL) -> int:
    """Return ``max_length``, by default 2048 or ``limit``, whichever is smaller.

    Raises:
        LoweringError: ``max_length`` is below ``shortest`` or above ``limit``, the base's.
    """
    whose = "the base model's positions with one rope"
    if max_length is None:
        return min(limit, DEFAULT_LENGTH)
    return check_length("max_length", max_length, shortest, limit, whose)


def check_length(name: str, length: int, shortest: int, limit: int, whose: str) -> int:
    """Return ``length``, the value of setting ``name``, if it is within limits.

    Raises:
        LoweringError: it is not; ``whose`` explains the limit.
    """
    if not shortest <= length <= limit:
        raise LoweringError(
            f"{name.replace('_', ' ')} is {length}, expected {shortest} to {limit}, {whose}; pass "
            "another",
            options=[name],
        )
    return length
