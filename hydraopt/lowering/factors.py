"""How coded adapters map to a program: inputs of ``forward``, or constants of a closed set."""

from collections.abc import Mapping

import torch

from ..factors import Factors
from ..formats.layout import Layout


def factor_shapes(layout: Layout, *, static_rows: bool = False) -> dict[str, tuple[int, int, int]]:
    """``module.A`` -> ``(1, in, n)``, ``module.B`` -> ``(1, R, out)``, in the inputs' order.

    Args:
        layout: of the packs.
        static_rows: shared rows are layers of the program; A holds the n private rows alone.
    """
    shapes = {}
    for name, side, directions in layout.factors(static_rows=static_rows):
        module, count = layout.modules[name], len(directions)
        length = module.length(side)
        shapes[f"{name}.{side}"] = (1, length, count) if side == "A" else (1, count, length)
    return shapes


def module_shapes(layout: Layout) -> dict[str, tuple[int, int]]:
    """``(out, in)`` of every adapted module."""
    return {name: module.shape for name, module in layout.modules.items()}


def slot_factors(factors: Mapping[str, Factors]) -> dict[str, torch.Tensor]:
    """One task's factors by input name, in the inputs' shapes; no row is a layer."""
    return {
        f"{name}.{side}": factor.T[None].contiguous()
        for name, (a, b) in factors.items()
        for side, factor in (("A", a), ("B", b))
    }
