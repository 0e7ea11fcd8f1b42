"""Encode one module of one or more tasks into a layout.

A task's private rows are the top right singular vectors of the residual of its delta after the
shared rows, and are coded first. Its columns are the least-squares fit to the coded rows R,
``B = D Rᵀ (R Rᵀ)^-1``, scaled to ``<D, B R> = <D, D>``, which their coding preserves. Codes are
thus unbiased rather than of least squared error, which would pull every layer towards the base
model.

Tasks are coded independently: an adapter that is added later has the same codes.
"""

from collections.abc import Sequence

import torch

from ..factors import Factors
from ..formats.layout import Code, ModuleLayout
from .codec import Coded, decode, encode

RIDGE = 1e-6  # of least squares: rows that a task does not need may be almost zero


def encode_shared(layout: ModuleLayout, rows: torch.Tensor) -> list[Coded]:
    """Encode the first of ``rows [n, in]``, of mean square 1, as the layout's shared rows."""
    codes = [code for code in layout.codes("A") if code.shared]
    return _encode(rows[: len(codes)], codes, layout.largest_steps[0])


def encode_module(
    layout: ModuleLayout, shared: Sequence[Coded], factors: Sequence[Factors]
) -> tuple[list[Coded], list[Coded]]:
    """Encode one module of N tasks.

    Args:
        layout: layout of the module.
        shared: result of :func:`encode_shared`.
        factors: factors of each task; zeros for a task without the module.

    Returns:
        The private rows and all columns, in the layout's order, each with N vectors.
    """
    first = decode_vectors(layout, "A", shared)
    codes = layout.codes("A")[len(shared) :]
    private = torch.stack([_private_rows(x, first, len(codes)) for x in factors], 1)
    rows = _encode(private, codes, layout.largest_steps[0])
    own = decode_vectors(layout, "A", rows, len(shared))
    columns = [
        fit_columns(layout, x, torch.stack([*first, *(row[task] for row in own)]))
        for task, x in enumerate(factors)
    ]
    return rows, encode_columns(layout, torch.stack(columns, 1))


def encode_columns(layout: ModuleLayout, columns: torch.Tensor) -> list[Coded]:
    """Encode the columns ``[R, ..., out]``, each with its bits in the layout."""
    return _encode(columns, layout.codes("B"), layout.largest_steps[1])


def decode_vectors(
    layout: ModuleLayout, side: str, coded: Sequence[Coded], start: int = 0
) -> list[torch.Tensor]:
    """Decode vectors ``start``, ``start + 1``, … of a side, each float32 ``[..., length]``."""
    length, largest_step = layout.length(side), layout.largest_steps["AB".index(side)]
    codes = layout.codes(side)[start : start + len(coded)]
    return [
        decode(x, code.bits, length, largest_step) for x, code in zip(coded, codes, strict=True)
    ]


def fit_columns(layout: ModuleLayout, factors: Factors, rows: torch.Tensor) -> torch.Tensor:
    """Fit columns ``[R, out]`` to the rows ``[R, in]``, before coding.

    They are the least-squares solution, scaled to ``<D, B R> = <D, D>``.
    """
    columns = least_squares(factors, rows)
    kept = ((factors.b.T @ columns) * (factors.a @ rows.T)).sum()
    energy = ((factors.b.T @ factors.b) * (factors.a @ factors.a.T)).sum()
    return columns.T * (energy / kept if kept > 0 else 1)


def least_squares(factors: Factors, rows: torch.Tensor) -> torch.Tensor:
    """Return ``D Rᵀ (R Rᵀ)^-1``, ``[out, n]``, for rows R ``[n, in]``."""
    gram = rows @ rows.T + RIDGE * rows.shape[1] * torch.eye(len(rows))
    return factors.b @ torch.linalg.solve(gram, rows @ factors.a.T).T


def _private_rows(factors: Factors, shared: Sequence[torch.Tensor], count: int) -> torch.Tensor:
    """Return the best rows ``[count, in]``, of mean square 1, for the residual."""
    missed = factors.a
    if shared:
        rows = torch.stack(list(shared))
        missed = missed - least_squares(Factors(missed, torch.eye(len(missed))), rows) @ rows
    left = torch.linalg.qr(factors.b).R
    right = torch.linalg.svd(left @ missed, full_matrices=False).Vh[:count]
    right = right * right.shape[1] ** 0.5
    # a task of smaller rank leaves the other directions zero
    return torch.nn.functional.pad(right, (0, 0, 0, count - len(right)))


def _encode(vectors: torch.Tensor, codes: Sequence[Code], largest_step: float) -> list[Coded]:
    """Encode ``vectors [n, ..., length]``, all vectors of equal bits at once."""
    coded: dict[int, Coded] = {}
    for bits in {code.bits for code in codes}:
        places = [place for place, code in enumerate(codes) if code.bits == bits]
        chosen = vectors[places]
        encoded = encode(chosen.flatten(0, -2), bits, largest_step)
        shape = chosen.shape[:-1]
        packed, steps = encoded.codes.view(*shape, -1), encoded.step.view(shape)
        coded |= {x: Coded(packed[i], steps[i]) for i, x in enumerate(places)}
    return [coded[place] for place in range(len(codes))]
