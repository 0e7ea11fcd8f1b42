"""Quantisation schemes of a base model's linear layers and token embedding, by name.

A scheme is data, which the command line, manifests and comparisons of outputs read. Backends make
quantised layers of it, see :mod:`hydraopt.lowering.backends`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .errors import LoweringError


@dataclass(frozen=True)
class Grid:
    """Integer levels of weights: symmetric, with a positive scale for each group.

    Attributes:
        bits: bits of a weight.
        group: weights of a row that share a scale; None: the whole row.
    """

    bits: int
    group: int | None = None

    @property
    def low(self) -> int:
        """The lowest level."""
        return -(2 ** (self.bits - 1))

    @property
    def high(self) -> int:
        """The highest level."""
        return 2 ** (self.bits - 1) - 1

    def nbytes(self, rows: int, width: int) -> int:
        """Bytes of a weight in a program: a bfloat16 scale per group, a float32 one per row."""
        scales = rows * 4 if self.group is None else rows * width // self.group * 2
        return rows * width * self.bits // 8 + scales


@dataclass(frozen=True)
class Scheme:
    """How linear layers are quantised.

    Attributes:
        name: name in settings, manifests and options; ExecuTorch's name where it has one.
        tolerance: largest difference between the logits of two processors, relative to the
            largest logit. They sum float32 in different orders, and with 8-bit activations such a
            difference can move a value to the next level.
        limit: largest relative error of a program against PyTorch with the same quantised weights.
        weights: integer levels of weights; None: float32.
        activation_bits: bits of an activation, scaled dynamically in every call; None: float32.
        embedding: default scheme of the token embedding.
    """

    name: str
    tolerance: float
    limit: float
    weights: Grid | None = None
    activation_bits: int | None = None
    embedding: str = "none"

    @property
    def quantizes(self) -> bool:
        """Whether weights are quantised."""
        return self.weights is not None


SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("8da4w", 5e-2, 0.2, Grid(4, 32), activation_bits=8, embedding="4w"),
        Scheme("8da8w", 5e-2, 0.1, Grid(8), activation_bits=8, embedding="8w"),
        Scheme("none", tolerance=1e-3, limit=1e-3),
    )
}
"""All schemes of linear layers by name."""
DEFAULT_SCHEME = "8da4w"

EMBEDDING_BITS: Mapping[str, int | None] = {"4w": 4, "8w": 8, "none": None}
"""Scheme of the token embedding -> bits of a value, in groups of 32; None: float32."""


def find_scheme(name: str) -> Scheme:
    """Look up a scheme in :data:`SCHEMES`.

    Raises:
        LoweringError: unknown name.
    """
    if name not in SCHEMES:
        raise LoweringError(f"unknown quantisation {name!r}, expected {', '.join(SCHEMES)}")
    return SCHEMES[name]


def loosest_scheme(names: Iterable[str]) -> Scheme:
    """Return the scheme with the largest tolerance, which holds for a program with all of them.

    Raises:
        LoweringError: unknown name.
    """
    return max(map(find_scheme, names), key=lambda scheme: scheme.limit)
