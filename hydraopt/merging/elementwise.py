"""Element-wise merging of dense deltas: one task of one module in memory at a time, float32."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from ..adapters import AdapterSet, LoraAdapter


def delta(adapter: LoraAdapter, module: str, shape: tuple[int, int]) -> torch.Tensor:
    """``B A``, dense ``[out, in]`` of ``shape``; zero where the adapter lacks the module."""
    if module not in adapter.factors:
        return torch.zeros(shape)
    a, b = adapter.factors[module]
    return b @ a


def deltas(adapters: AdapterSet, module: str) -> Iterator[torch.Tensor]:
    """The T dense deltas of one module, made one by one."""
    for adapter in adapters.adapters:
        yield delta(adapter, module, adapters.shapes[module])


def keep_largest(x: torch.Tensor, density: float) -> torch.Tensor:
    """Whether an entry is among the ``ceil(density * n)`` largest magnitudes; bool as ``x``.

    Entries that equal the smallest one kept are kept too. Zero is never kept.
    """
    magnitudes = x.abs()
    dropped = x.numel() - int(np.ceil(density * x.numel()))
    if dropped == 0:
        return magnitudes > 0
    flat = magnitudes.numpy().ravel()
    threshold = float(np.partition(flat, dropped)[dropped])
    return (magnitudes >= threshold) & (magnitudes > 0)


def disjoint_mean(parts: Iterable[torch.Tensor]) -> torch.Tensor:
    """TIES's election and merge: per entry, the mean of the values that have the elected sign.

    The sign with the larger sum of magnitudes is elected; zeros do not count. One pass, so that
    ``parts`` may be a generator.
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
