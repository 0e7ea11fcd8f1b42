"""How far merged adapters are from those that went in."""

from typing import Protocol

from ..adapters import AdapterSet
from ..factors import Factors, relative_error


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
