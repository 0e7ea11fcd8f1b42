"""Relative errors of stored adapters against the originals."""

from ..adapters import AdapterSet, LoraAdapter
from ..factors import relative_error
from ..parallel import ALL_CORES, each, running_on
from .adapters import StoredAdapters


def relative_errors(adapters: AdapterSet, merged: StoredAdapters) -> dict[str, dict[str, float]]:
    """Return ``||D - D'|| / ||D||`` for every task and each module of its adapter."""

    def errors(adapter: LoraAdapter) -> dict[str, float]:
        approximations = merged.task_factors(adapter.name)
        return {
            module: relative_error(factors, approximations[module])
            for module, factors in adapter.factors.items()
        }

    with running_on(ALL_CORES):  # a cluster's workers would need all packs
        found = each(errors, adapters.adapters, "compare")
    return dict(zip(adapters.tasks, found, strict=True))
