"""Relative errors of stored adapters against the originals."""

from ..adapters import AdapterSet
from ..factors import relative_error
from .adapters import StoredAdapters


def relative_errors(adapters: AdapterSet, merged: StoredAdapters) -> dict[str, dict[str, float]]:
    """Return ``||D - D'|| / ||D||`` for every task and each module of its adapter."""
    errors = {}
    for adapter in adapters.adapters:
        approximations = merged.task_factors(adapter.name)
        errors[adapter.name] = {
            module: relative_error(factors, approximations[module])
            for module, factors in adapter.factors.items()
        }
    return errors
