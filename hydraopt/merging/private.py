"""No sharing: every task keeps its own A and B, as they were trained."""

import torch

from ..adapters import AdapterSet
from .assemble import assemble, stacked, zero
from .merged import MergedAdapters


def private(adapters: AdapterSet) -> MergedAdapters:
    """All T adapters beside each other, smaller ranks padded with zeros."""
    everyone = torch.arange(len(adapters.tasks))
    sides = {
        module: stacked(
            [adapter.factors.get(module, zero(shape)) for adapter in adapters.adapters], everyone
        )
        for module, shape in adapters.shapes.items()
    }
    return assemble("private", adapters, sides, {})
