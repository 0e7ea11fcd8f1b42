"""Truncate a delta to a rank: in factor space if it is a product, otherwise by SVD."""

from typing import NamedTuple, TypeAlias

import torch

from .factors import Factors

OVERSAMPLING, POWER_STEPS = 10, 2
TOLERANCE = 1e-6  # of singular values, relative to the largest


class Cut(NamedTuple):
    """A truncated delta: its factors, the squared norm of the error, and that of the delta."""

    factors: Factors
    lost: float
    energy: float


class Svd(NamedTuple):
    """``U [out, p]``, singular values ``s [p]`` in descending order, and ``Vᵀ [p, in]``."""

    u: torch.Tensor
    s: torch.Tensor
    vh: torch.Tensor


Delta: TypeAlias = Factors | Svd | torch.Tensor
"""One module's delta: a product, its decomposition, or dense ``[out, in]``."""


def cut(delta: Delta, rank: int) -> Cut:
    """Return the best approximation ``A [r, in]``, ``B [out, r]`` of ``delta`` with r <= ``rank``.

    The factors are balanced and float32. A product is truncated exactly. A dense delta is
    truncated by SVD: by a seeded randomised SVD (Halko et al., arXiv 0909.4061) if ``rank`` is
    small compared with its shape.
    """
    if isinstance(delta, Factors) and len(delta.a) <= rank:
        return Cut(Factors(*balanced(delta.a, delta.b)), 0.0, inner(delta, delta))
    u, s, vh = svd(delta, rank)
    squares = s.double().pow(2)
    energy, lost = squares.sum().item(), squares[rank:].sum().item()
    if isinstance(delta, torch.Tensor) and len(s) < min(delta.shape):  # s is not complete
        energy = delta.double().pow(2).sum().item()
        lost = max(energy - squares[:rank].sum().item(), 0.0)
    root = s[:rank].sqrt()
    a, b = root[:, None] * vh[:rank], u[:, :rank] * root
    return Cut(Factors(a.float(), b.float()), lost, energy)


def svd(delta: Delta, rank: int | None = None) -> Svd:
    """Return the thin SVD of ``delta``; of a dense one at least the top ``rank`` values.

    A product is decomposed in factor space, without its zero singular values.
    """
    if isinstance(delta, Svd):
        return delta
    if isinstance(delta, torch.Tensor):
        return _dense_svd(delta, rank or min(delta.shape))
    q_b, r_b = torch.linalg.qr(delta.b)
    q_a, r_a = torch.linalg.qr(delta.a.T)
    u, s, vh = torch.linalg.svd(r_b @ r_a.T, full_matrices=False)
    used = s > TOLERANCE * s[:1]
    return Svd(q_b @ u[:, used], s[used], vh[used] @ q_a.T)


def inner(x: Factors, y: Factors) -> float:
    """Return the inner product ``<B_x A_x, B_y A_y>`` of two deltas."""
    return ((x.b.T @ y.b) * (x.a @ y.a.T)).sum().item()


def balanced(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale A and the B's to equal root mean squares, to avoid underflow in fp16."""
    powers = (x.pow(2).mean().clamp_min(1e-30) for x in (b, a))
    scale = torch.div(*powers).pow(0.25)
    return (a * scale).float(), (b / scale).float()


def _dense_svd(delta: torch.Tensor, rank: int) -> Svd:
    if 2 * (rank + OVERSAMPLING) >= min(delta.shape):
        return Svd(*torch.linalg.svd(delta, full_matrices=False))
    # torch.svd_lowrank draws from the global generator, which threads share
    draws = torch.randn(
        delta.shape[1],
        rank + OVERSAMPLING,
        generator=torch.Generator().manual_seed(0),
        dtype=delta.dtype,
    )
    basis = torch.linalg.qr(delta @ draws).Q
    for _ in range(POWER_STEPS):
        basis = torch.linalg.qr(delta.T @ basis).Q
        basis = torch.linalg.qr(delta @ basis).Q
    u, s, vh = torch.linalg.svd(basis.T @ delta, full_matrices=False)
    return Svd(basis @ u, s, vh)


def padded(factors: Factors, rank: int) -> Factors:
    """Pad factors with zero directions up to ``rank``, so that several can be stacked."""
    missing = rank - len(factors.a)
    pad = torch.nn.functional.pad
    return Factors(pad(factors.a, (0, 0, 0, missing)), pad(factors.b, (0, missing)))
