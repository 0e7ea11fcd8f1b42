"""Inputs of the measured programs: token ids, positions, and one task's factors if any."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch


@dataclass(frozen=True)
class Positions:
    """Inputs of ours: ids ``[1, S]``, their positions ``[S]``, and factors from a file."""

    factors: Path | None = None

    @cached_property
    def _factors(self) -> list[torch.Tensor]:
        return torch.load(self.factors) if self.factors else []

    def __call__(self, length: int, position: int) -> list[torch.Tensor]:
        """For ``length`` tokens from ``position`` on."""
        return [token_ids(length), torch.arange(position, position + length), *self._factors]


def first_position(length: int, position: int) -> list[torch.Tensor]:
    """Inputs of the yardstick: ids ``[1, S]`` and the first one's position ``[1]``."""
    return [token_ids(length), torch.tensor([position])]


def token_ids(length: int) -> torch.Tensor:
    """``[1, S]``, any that every vocabulary has."""
    return (7 * torch.arange(length) + 5).remainder(256)[None]
