"""How coded adapters map to a program: inputs of ``forward``, or constants of a closed set."""

from collections.abc import Mapping

import torch

from ..adapters import Factors
from ..packing import Layout


def factor_shapes(layout: Layout) -> dict[str, tuple[int, int, int]]:
    """``module.A`` -> ``(1, R, in)``, ``module.B`` -> ``(1, R, out)``, in the inputs' order."""
    return {
        f"{name}.{side}": (1, len(module.directions), module.length(side))
        for name, side, module in layout.factors
    }


def module_shapes(layout: Layout) -> dict[str, tuple[int, int]]:
    """``(out, in)`` of every adapted module."""
    return {name: module.shape for name, module in layout.modules.items()}


def slot_factors(factors: Mapping[str, Factors]) -> dict[str, torch.Tensor]:
    """One task's factors by input name, in the inputs' shapes."""
    return {
        f"{name}.{side}": factor[None]
        for name, (a, b) in factors.items()
        for side, factor in (("A", a), ("B", b.T))
    }
