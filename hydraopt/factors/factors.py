"""``Factors``: a low-rank update of one layer."""

from typing import NamedTuple

import torch


class Size(NamedTuple):
    """The numbers of a module's factors: ``a [rank, width]`` and ``b [out, rank]``."""

    out: int
    width: int
    rank: int

    @property
    def shape(self) -> tuple[int, int]:
        """``(out, in)`` of the adapted layer."""
        return self.out, self.width

    @property
    def values(self) -> int:
        """Number of values of both factors."""
        return self.rank * (self.out + self.width)


class Factors(NamedTuple):
    """A module's low-rank update: ``a [r, in]`` and ``b [out, r]``, float32."""

    a: torch.Tensor
    b: torch.Tensor

    @classmethod
    def zero(cls, shape: tuple[int, int]) -> "Factors":
        """Return a rank-1 zero delta of ``shape`` ``(out, in)``, for a task without the module."""
        out, width = shape
        return cls(torch.zeros(1, width), torch.zeros(out, 1))

    @property
    def shape(self) -> tuple[int, int]:
        """``(out, in)`` of the adapted layer."""
        return self.size.shape

    @property
    def size(self) -> Size:
        """The numbers of rows and columns."""
        return Size(self.b.shape[0], self.a.shape[1], self.a.shape[0])


@torch.no_grad()
def add_delta(weight: torch.Tensor, factors: Factors) -> None:
    """Add ``B @ A`` to a layer's ``weight [out, in]`` in place, without forming the delta."""
    a, b = (x.to(weight) for x in factors)
    weight.addmm_(b, a)


def relative_error(original: Factors, approximation: Factors) -> float:
    """Return ``||D - D'|| / ||D||`` of two deltas, from their factors; 0 if both are zero."""
    b = torch.cat([original.b, -approximation.b], 1).double()
    a = torch.cat([original.a, approximation.a]).double()
    rank = len(original.a)
    products = (b.T @ b) * (a @ a.T)
    error, energy = products.sum().clamp_min(0), products[:rank, :rank].sum()
    return float((error / energy).sqrt()) if energy > 0 else float(error > 0)
