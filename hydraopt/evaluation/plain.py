"""The obvious baseline: round A and B to plain integers, without sharing."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..adapters import AdapterSet
from ..factors import Factors

GROUP, SCALE_BYTES = 32, 2
CLIPPING = (0.3, 1.0, 15)  # scales to try, relative to the one that covers the largest value


@dataclass(frozen=True)
class PlainAdapters:
    """Adapters rounded to symmetric ``bits``-bit integers in groups of 32 along rows.

    Each group has an fp16 scale that minimises the squared error: at 2 bits the relative error of
    the zoo's factors is 0.28, against 0.33 with torchao's ``int2`` and ``hqq_scale_only``. The
    factors are evaluated dequantised; their size is computed, not written.
    """

    adapters: Mapping[str, Mapping[str, Factors]]
    bits: int
    share: float

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names."""
        return tuple(self.adapters)

    def task_factors(self, task: str) -> dict[str, Factors]:
        """Return one task's rounded factors."""
        return {
            module: Factors(rounded(a, self.bits), rounded(b.T, self.bits).T)
            for module, (a, b) in self.adapters[task].items()
        }


def plain(adapters: AdapterSet, *, bits: int) -> PlainAdapters:
    """Round every adapter's A and B to ``bits``."""
    values = sum(size.values for x in adapters.adapters for size in x.sizes.values())
    stored = values * bits / 8 + values / GROUP * SCALE_BYTES
    tasks = {adapter.name: adapter.factors for adapter in adapters.adapters}
    return PlainAdapters(tasks, bits, stored / adapters.fp16_bytes)


def rounded(x: torch.Tensor, bits: int, group: int = GROUP) -> torch.Tensor:
    """Round ``x [n, m]`` in groups along rows, each with the best of several scales."""
    columns = x.shape[1]
    groups = torch.nn.functional.pad(x, (0, -columns % group)).unflatten(1, (-1, group))
    half = (2**bits - 1) / 2  # half-integer levels: 2 bits have 4, not 3
    widest = groups.abs().amax(-1, keepdim=True) / half
    best, least = groups, torch.full_like(widest, torch.inf)
    for part in torch.linspace(*CLIPPING):
        scale = (part * widest).half().float().clamp_min(1e-12)
        rounded = ((groups / scale + half).round().clamp(0, 2 * half) - half) * scale
        error = (rounded - groups).square().sum(-1, keepdim=True)
        best, least = torch.where(error < least, rounded, best), torch.minimum(error, least)
    return best.flatten(1)[:, :columns]
