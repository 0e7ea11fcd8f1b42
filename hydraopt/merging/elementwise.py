"""Element-wise merging of dense float32 deltas, with one task of one module in memory at a time."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from ..adapters import AdapterSet, LoraAdapter


def delta(adapter: LoraAdapter, module: str, shape: tuple[int, int]) -> torch.Tensor:
    """Return the dense delta ``B A [out, in]``, or zeros if the adapter lacks the module."""
    if module not in adapter.factors:
        return torch.zeros(shape)
    a, b = adapter.factors[module]
    return b @ a


def deltas(adapters: AdapterSet, module: str) -> Iterator[torch.Tensor]:
    """Yield the T dense deltas of one module."""
    for adapter in adapters.adapters:
        yield delta(adapter, module, adapters.shapes[module])


def keep_largest(x: torch.Tensor, density: float) -> torch.Tensor:
    """Return a bool mask, shaped as ``x``, of the ``ceil(density * n)`` largest magnitudes.

    Ties with the smallest kept magnitude are kept; zeros never are.
    """
    magnitudes = x.abs()
    dropped = x.numel() - int(np.ceil(density * x.numel()))
    if dropped == 0:
        return magnitudes > 0
    flat = magnitudes.numpy().ravel()
    threshold = float(np.partition(flat, dropped)[dropped])
    return (magnitudes >= threshold) & (magnitudes > 0)


def trimmed_mean(parts: Iterable[torch.Tensor], density: float) -> torch.Tensor:
    """Merge by TIES: trim each part to its largest entries, elect signs, take disjoint means."""
    return disjoint_mean(x * keep_largest(x, density) for x in parts)


def disjoint_mean(parts: Iterable[torch.Tensor]) -> torch.Tensor:
    """Elect a sign per entry and return the mean of the values with that sign, as TIES does.

    The elected sign is the one with the larger sum of magnitudes; zeros are ignored. ``parts`` is
    read once and may be a generator.
    """
    positive = None
    for part in parts:
        if positive is None:
            positive, negative = torch.zeros_like(part), torch.zeros_like(part)
            ups, downs = (torch.zeros_like(part, dtype=torch.int32) for _ in range(2))
        positive += part.clamp_min(0)
        negative += part.clamp_max(0)
        ups += part > 0
        downs += part < 0
    total = positive + negative
    means = torch.where(total > 0, positive / ups.clamp_min(1), negative / downs.clamp_min(1))
    return means * (total != 0)
