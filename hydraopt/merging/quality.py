"""How far merged adapters are from those that went in."""

from typing import Protocol

import torch

from ..adapters import AdapterSet, Factors


class HasTaskFactors(Protocol):
    """Merged adapters of any kind."""

    def task_factors(self, task: str) -> dict[str, Factors]:
        """All modules' factors of one task."""


def relative_errors(adapters: AdapterSet, merged: HasTaskFactors) -> dict[str, dict[str, float]]:
    """``||D - D'|| / ||D||`` for every task and each module that its adapter has."""
    errors = {}
    for adapter in adapters.adapters:
        approximations = merged.task_factors(adapter.name)
        errors[adapter.name] = {
            module: relative_error(factors, approximations[module])
            for module, factors in adapter.factors.items()
        }
    return errors


def relative_error(original: Factors, approximation: Factors) -> float:
    """``||D - D'|| / ||D||`` of two deltas from their factors; 0 if both are zero."""
    b = torch.cat([original.b, -approximation.b], 1).double()
    a = torch.cat([original.a, approximation.a]).double()
    rank = len(original.a)
    products = (b.T @ b) * (a @ a.T)
    error, energy = products.sum().clamp_min(0), products[:rank, :rank].sum()
    return float((error / energy).sqrt()) if energy > 0 else float(error > 0)
