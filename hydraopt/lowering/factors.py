"""Names and shapes of the factors that a program takes."""

from collections.abc import Mapping

import torch

from ..factors import Factors
from ..formats.layout import Layout
from ..packing import CodedAdapters, Unpack


def factor_shapes(layout: Layout, *, static_rows: bool = False) -> dict[str, tuple[int, int, int]]:
    """Return ``module.A`` -> ``(1, in, n)`` and ``module.B`` -> ``(1, R, out)``, in input order.

    Args:
        layout: layout of the packs.
        static_rows: shared rows are layers of the program, so that A has the n private rows only.
    """
    shapes = {}
    for name, side, directions in layout.factors(static_rows=static_rows):
        module, count = layout.modules[name], len(directions)
        length = module.length(side)
        shapes[f"{name}.{side}"] = (1, length, count) if side == "A" else (1, count, length)
    return shapes


def slot_factors(factors: Mapping[str, Factors]) -> dict[str, torch.Tensor]:
    """Return one task's factors by input name and in input shapes, with all rows."""
    return {
        f"{name}.{side}": factor.T[None].contiguous()
        for name, (a, b) in factors.items()
        for side, factor in (("A", a), ("B", b))
    }


@torch.no_grad()
def input_factors(
    coded: CodedAdapters, task: str, *, static_rows: bool = False
) -> dict[str, torch.Tensor]:
    """Return one task's factors by input name, as a program unpacks them.

    Args:
        coded: coded adapters.
        task: one of their tasks.
        static_rows: as of :func:`factor_shapes`.
    """
    unpack = Unpack(coded.layout, static_rows=static_rows)
    shared = () if static_rows else (coded.shared,)
    factors = unpack(*shared, coded.payloads[task])
    return dict(zip(factor_shapes(coded.layout, static_rows=static_rows), factors, strict=True))
