"""Relative errors of stored adapters against the originals."""

from typing import Protocol

from ..adapters import AdapterSet
from ..factors import Factors, relative_error


class HasTaskFactors(Protocol):
    """Compressed or merged adapters."""

    def task_factors(self, task: str) -> dict[str, Factors]:
        """Return all modules' factors of one task."""


def relative_errors(adapters: AdapterSet, merged: HasTaskFactors) -> dict[str, dict[str, float]]:
    """Return ``||D - D'|| / ||D||`` for every task and each module of its adapter."""
    errors = {}
    for adapter in adapters.adapters:
        approximations = merged.task_factors(adapter.name)
        errors[adapter.name] = {
            module: relative_error(factors, approximations[module])
            for module, factors in adapter.factors.items()
        }
    return errors
