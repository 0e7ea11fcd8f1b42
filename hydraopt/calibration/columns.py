"""One module's columns of one task: numbers that are tuned until they are rounded."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import torch
from transformers import PreTrainedModel

from ..errors import require
from ..factors import Factors
from ..formats.layout import ModuleLayout
from ..hooks import outputs_plus
from ..packing import Coded, decode_vectors, encode_columns, fit_columns, scaled


@dataclass(frozen=True)
class Columns:
    """Columns ``[R, out]`` and what may change in them.

    Attributes:
        layout: of the module.
        rows: ``[R, in]``, as decoded: they stay.
        start: the columns before tuning.
        change: in units of each column's root mean square, ``[R, out]``; once the columns are
            rounded, of the logarithm of each step, ``[R, 1]``. A leaf that requires a gradient.
        codes: of the rounded columns.
    """

    layout: ModuleLayout
    rows: torch.Tensor
    start: torch.Tensor
    change: torch.Tensor
    codes: tuple[Coded, ...] | None = None

    @classmethod
    def fitted(
        cls, layout: ModuleLayout, factors: Factors, rows: torch.Tensor, device: torch.device
    ) -> "Columns":
        """The columns that a data-free coder would round."""
        start = fit_columns(layout, factors, rows).to(device)
        return cls(layout, rows.to(device), start, torch.zeros_like(start).requires_grad_())

    def value(self) -> torch.Tensor:
        """The columns as they are now, ``[R, out]``."""
        if self.codes is not None:
            return self.start * self.change.exp()
        return self.start + self._sizes * self.change

    @cached_property
    def _sizes(self) -> torch.Tensor:
        """Each column's root mean square, ``[R, 1]``."""
        return self.start.square().mean(1, keepdim=True).sqrt()

    @torch.no_grad()
    def rounded(self) -> "Columns":
        """The columns as codes, whose steps may still change."""
        codes = encode_columns(self.layout, self.value().cpu())
        start = torch.stack(decode_vectors(self.layout, "B", codes)).to(self.start)
        change = torch.zeros_like(start[:, :1]).requires_grad_()
        return Columns(self.layout, self.rows, start, change, tuple(codes))

    @torch.no_grad()
    def coded(self) -> list[Coded]:
        """The rounded columns' codes with their tuned steps."""
        codes, top = require(self.codes, "codes of columns"), self.layout.tops[1]
        gains = self.change.exp().cpu()
        return [scaled(code, gain[0], top) for code, gain in zip(codes, gains, strict=True)]


def added(model: PreTrainedModel, columns: Mapping[str, Columns]) -> AbstractContextManager[None]:
    """Add ``Bᵀ A x`` to the output of every module of ``columns`` while the block runs."""

    def change(module: Columns):
        return lambda x: (x @ module.rows.T) @ module.value()

    return outputs_plus(model, {name: change(module) for name, module in columns.items()})
