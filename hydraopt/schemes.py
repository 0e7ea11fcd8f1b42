"""How the linear layers and the token embedding of a base model are quantised: schemes by name.

A scheme is data. What makes layers of it is a backend, see :mod:`hydraopt.lowering.backends`; the
command line, manifests and comparisons of outputs read all else here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from .errors import LoweringError


@dataclass(frozen=True)
class Scheme:
    """How linear layers are quantised.

    Attributes:
        name: in settings, manifests and options; ExecuTorch's where it has one.
        tolerance: largest difference between two processors' logits, as a share of the largest.
            They order the sums of float32 differently, and with activations of 8 bits such a
            difference can move one to the next level.
        limit: largest relative error of a program from PyTorch with the same quantised weights.
        weight_bits: of a weight; None: float32.
        group: weights of a row that share a scale; None: all of them.
        activation_bits: of an activation, whose scale is found in every call; None: float32.
        embedding: scheme of the token embedding, unless another is asked for.
    """

    name: str
    tolerance: float
    limit: float
    weight_bits: int | None = None
    group: int | None = None
    activation_bits: int | None = None
    embedding: str = "none"

    @property
    def quantizes(self) -> bool:
        """Whether weights are less than float32."""
        return self.weight_bits is not None


SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("8da4w", 5e-2, 0.2, weight_bits=4, group=32, activation_bits=8, embedding="4w"),
        Scheme("8da8w", 5e-2, 0.1, weight_bits=8, activation_bits=8, embedding="8w"),
        Scheme("none", tolerance=1e-3, limit=1e-3),
    )
}
"""All schemes of linear layers by name."""
DEFAULT_SCHEME = "8da4w"

EMBEDDING_BITS: Mapping[str, int | None] = {"4w": 4, "8w": 8, "none": None}
"""Scheme of the token embedding -> bits of a value, in groups of 32; None: float32."""


def find_scheme(name: str) -> Scheme:
    """The entry of :data:`SCHEMES`.

    Raises:
        LoweringError: there is none.
    """
    if name not in SCHEMES:
        raise LoweringError(f"unknown quantisation {name!r}, expected {', '.join(SCHEMES)}")
    return SCHEMES[name]
