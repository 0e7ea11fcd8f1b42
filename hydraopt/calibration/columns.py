"""One task's columns of one module, tuned before and after rounding."""

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
    """Columns ``[R, out]`` and their trainable change.

    Attributes:
        layout: layout of the module.
        rows: unpacked rows ``[R, in]``; fixed.
        start: the columns before tuning.
        change: a leaf that requires a gradient. Before rounding, ``[R, out]`` in units of each
            column's root mean square; afterwards, change of each step's logarithm, ``[R, 1]``.
        codes: codes of the rounded columns; None before rounding.
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
        """Start from the columns that the data-free coder would round."""
        start = fit_columns(layout, factors, rows).to(device)
        return cls(layout, rows.to(device), start, torch.zeros_like(start).requires_grad_())

    def value(self) -> torch.Tensor:
        """Return the current columns ``[R, out]``."""
        if self.codes is not None:
            return self.start * self.change.exp()
        return self.start + self._sizes * self.change

    @cached_property
    def _sizes(self) -> torch.Tensor:
        """Each column's root mean square, ``[R, 1]``."""
        return self.start.square().mean(1, keepdim=True).sqrt()

    @torch.no_grad()
    def rounded(self) -> "Columns":
        """Round the columns to codes; only their steps remain trainable."""
        codes = encode_columns(self.layout, self.value().cpu())
        start = torch.stack(decode_vectors(self.layout, "B", codes)).to(self.start)
        change = torch.zeros_like(start[:, :1]).requires_grad_()
        return Columns(self.layout, self.rows, start, change, tuple(codes))

    @torch.no_grad()
    def coded(self) -> list[Coded]:
        """Return the codes of the rounded columns, with tuned steps."""
        codes, largest_step = require(self.codes, "codes of columns"), self.layout.largest_steps[1]
        gains = self.change.exp().cpu()
        return [
            scaled(code, gain[0], largest_step) for code, gain in zip(codes, gains, strict=True)
        ]


def added(model: PreTrainedModel, columns: Mapping[str, Columns]) -> AbstractContextManager[None]:
    """Add ``Bᵀ A x`` to the output of every module of ``columns`` while the block runs."""

    def change(module: Columns):
        return lambda x: (x @ module.rows.T) @ module.value()

    return outputs_plus(model, {name: change(module) for name, module in columns.items()})
