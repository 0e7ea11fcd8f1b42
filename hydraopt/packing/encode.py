"""One module of some tasks into a layout.

A task's private rows are the top right singular vectors of what the shared rows leave of its
delta; they are rounded. Its columns are the least-squares fit to the rounded rows, ``B = D Rᵀ (R
Rᵀ)^-1``, scaled so that ``<D, B R> = <D, D>``, and are rounded so that this stays. Without it, what
few bits or rows lose of a delta would pull every layer towards the base model: the codes are
unbiased rather than of least squared error. Columns of 1 and 2 bits even overshoot a little.

Tasks do not affect each other: an adapter that comes later gets the codes that it would have had.
"""

from collections.abc import Mapping, Sequence

import torch

from ..factors import Factors
from ..formats.layout import Code, ModuleLayout
from .codec import Coded, decode, encode

# By bits of a column. Noise makes a network answer less decidedly; a little more of the delta makes
# up for it. Found on the zoo's training inputs, whose unmerged adapters also answer slightly better
# (.25 points on words-*) with 1.1 of their delta.
OVERSHOOT: Mapping[float, float] = {1: 1.05, 2: 1.1}
RIDGE = 1e-6  # of least squares: rows that a task does not need may be all but zero


def encode_shared(layout: ModuleLayout, rows: torch.Tensor) -> list[Coded]:
    """Code the first of ``rows [n, in]``, of mean square 1, as the layout's shared rows."""
    codes = [code for code in layout.codes("A") if code.shared]
    return _encode(rows[: len(codes)], codes, layout.largest_steps[0])


def encode_module(
    layout: ModuleLayout, shared: Sequence[Coded], factors: Sequence[Factors]
) -> tuple[list[Coded], list[Coded]]:
    """Code one module of N tasks.

    Args:
        layout: the module's; shared rows come first.
        shared: what :func:`encode_shared` gave.
        factors: of each task; zeros for a task without the module.

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
    """Code the columns ``[R, ..., out]``, each with the bits that the layout has for it."""
    return _encode(columns, layout.codes("B"), layout.largest_steps[1])


def decode_vectors(
    layout: ModuleLayout, side: str, coded: Sequence[Coded], start: int = 0
) -> list[torch.Tensor]:
    """Vectors ``start``, ``start + 1``, … of a side, each float32 ``[..., length]``."""
    length, largest_step = layout.length(side), layout.largest_steps["AB".index(side)]
    codes = layout.codes(side)[start : start + len(coded)]
    return [
        decode(x, code.bits, length, largest_step) for x, code in zip(coded, codes, strict=True)
    ]


def fit_columns(layout: ModuleLayout, factors: Factors, rows: torch.Tensor) -> torch.Tensor:
    """The columns ``[R, out]`` for the rows ``[R, in]``, before they are rounded.

    They are of least squares, scaled so that ``<D, B R> = <D, D>``, with overshoot.
    """
    columns = least_squares(factors, rows)
    kept = ((factors.b.T @ columns) * (factors.a @ rows.T)).sum()
    energy = ((factors.b.T @ factors.b) * (factors.a @ factors.a.T)).sum()
    more = torch.tensor([[OVERSHOOT.get(code.bits, 1.0)] for code in layout.codes("B")])
    return columns.T * more * (energy / kept if kept > 0 else 1)


def least_squares(factors: Factors, rows: torch.Tensor) -> torch.Tensor:
    """``D Rᵀ (R Rᵀ)^-1``, ``[out, n]``, for rows R ``[n, in]``."""
    gram = rows @ rows.T + RIDGE * rows.shape[1] * torch.eye(len(rows))
    return factors.b @ torch.linalg.solve(gram, rows @ factors.a.T).T


def _private_rows(factors: Factors, shared: Sequence[torch.Tensor], count: int) -> torch.Tensor:
    """The best rows, of mean square 1, for what the shared ones leave: ``[count, in]``."""
    missed = factors.a
    if shared:
        rows = torch.stack(list(shared))
        missed = missed - least_squares(Factors(missed, torch.eye(len(missed))), rows) @ rows
    left = torch.linalg.qr(factors.b).R
    right = torch.linalg.svd(left @ missed, full_matrices=False).Vh[:count]
    right = right * right.shape[1] ** 0.5
    # A task of smaller rank has nothing to say in the other directions.
    return torch.nn.functional.pad(right, (0, 0, 0, count - len(right)))


def _encode(vectors: torch.Tensor, codes: Sequence[Code], largest_step: float) -> list[Coded]:
    """Code ``vectors [n, ..., length]``, all of equal bits at once."""
    coded: dict[int, Coded] = {}
    for bits in {code.bits for code in codes}:
        places = [place for place, code in enumerate(codes) if code.bits == bits]
        chosen = vectors[places]
        encoded = encode(chosen.flatten(0, -2), bits, largest_step)
        shape = chosen.shape[:-1]
        packed, steps = encoded.codes.view(*shape, -1), encoded.step.view(shape)
        coded |= {x: Coded(packed[i], steps[i]) for i, x in enumerate(places)}
    return [coded[place] for place in range(len(codes))]
