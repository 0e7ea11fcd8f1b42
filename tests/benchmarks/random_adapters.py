"""Random adapters with the properties of trained ones that affect time and size."""

import torch
from torch import nn

from hydraopt.adapters import AdapterSet, LoraAdapter
from hydraopt.factors import Factors


def random_adapters(
    model: nn.Module, base_id: str, targets: str, tasks: int = 16, rank: int = 16
) -> AdapterSet:
    """Adapters with one A for all, as after one initialisation, and B's of their own.

    Args:
        model: the base.
        base_id: what the adapters call it.
        targets: part of the names of the linear layers to adapt.
        tasks: number of adapters.
        rank: r.
    """
    generator = torch.Generator().manual_seed(1)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    layers = {
        name: (layer.in_features, layer.out_features)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and targets in name
    }
    common = {name: randn(rank, size) / size**0.5 for name, (size, _) in layers.items()}
    return AdapterSet(
        LoraAdapter(
            f"task{task}",
            base_id,
            {name: Factors(common[name], 0.02 * randn(n, rank)) for name, (_, n) in layers.items()},
        )
        for task in range(tasks)
    )
