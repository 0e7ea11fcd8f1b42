"""No sharing: every task keeps its own A and B, as they were trained."""

import torch

from ..adapters import AdapterSet, Factors
from .merged import MergedAdapters, Side


def private(adapters: AdapterSet) -> MergedAdapters:
    """All T adapters beside each other, smaller ranks padded with zeros."""
    everyone = torch.arange(len(adapters.tasks))
    modules = {}
    for module in adapters.shapes:
        stacks = zip(*_padded(adapters, module), strict=True)
        modules[module] = tuple(Side(torch.stack(stack), everyone) for stack in stacks)
    return MergedAdapters(
        "private", {}, adapters.base_model, adapters.tasks, modules, adapters.fp16_bytes
    )


def _padded(adapters: AdapterSet, module: str) -> list[Factors]:
    out, width = adapters.shapes[module]
    absent = Factors(torch.zeros(0, width), torch.zeros(out, 0))
    found = [adapter.factors.get(module, absent) for adapter in adapters.adapters]
    rank = max(len(factors.a) for factors in found)
    return [
        Factors(
            torch.nn.functional.pad(f.a, (0, 0, 0, rank - len(f.a))),
            torch.nn.functional.pad(f.b, (0, rank - len(f.a))),
        )
        for f in found
    ]
