"""No sharing: every task keeps its own A and B, as trained."""

import torch

from ..adapters import AdapterSet
from ..stored import MergedAdapters, stacked
from .assemble import assemble
from .registry import merging_method

NAME = "private"


@merging_method(name=NAME, paper="no sharing", per_task=True, storage="T r (m + n)")
def private(adapters: AdapterSet) -> MergedAdapters:
    """Stack all T adapters, padding smaller ranks with zeros."""
    everyone = torch.arange(len(adapters.tasks))
    sides = {
        module: stacked(
            [adapter.update(module, shape) for adapter in adapters.adapters],
            everyone,
        )
        for module, shape in adapters.shapes.items()
    }
    return assemble(NAME, adapters, sides, {})
