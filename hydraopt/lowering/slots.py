"""Slots: the layers of a base model that take the current task's factors.

A slot computes ``layer(x) + x A B``, a surgery slot ``layer(x + relu(x A) B)``, and a head slot
``x A + B`` in place of its layer. A has, in the layout's order, the shared rows, a quantised layer
of the program, and the task's private rows, an input of the program like B. If each task has its
own method, A and B are constants.
"""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import nn
from torch.nn import functional as F

from ..factors import Factors, Role, Target
from ..rounding import IntegerWeight
from .backends.backend import Backend
from .layers import check_head, linear_layer, place

Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Slot(nn.Module):
    """A layer and its low-rank update.

    Args:
        layer: the base layer.
        name: its dotted name in the base model.
        inputs: dict that holds the current call's factors by name: ``A [1, in, n]``, unless all
            rows are shared, and ``B [1, R, out]``.
        product: multiplies ``[1, S, n]`` by a factor, in a form that the backend takes.

    Attributes:
        rows: layer of the shared rows, ``[1, S, in] -> [1, S, R - n]``; None if all rows are
            inputs.
    """

    rows: nn.Module | None

    def __init__(
        self,
        layer: nn.Module,
        name: str,
        inputs: dict[str, torch.Tensor],
        product: Product = torch.bmm,
    ):
        super().__init__()
        self.layer, self.name, self.inputs, self.product = layer, name, inputs, product
        self.rows = None
        self.register_buffer("a", None)
        self.register_buffer("b", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [1, S, in]`` -> ``[1, S, out]``; after pooling ``[1, in]`` -> ``[1, out]``."""
        if x.dim() == 2:
            return self.layer(x) + self.up(self.down(x[None]))[0]
        return self.layer(x) + self.up(self.down(x))

    def down(self, x: torch.Tensor) -> torch.Tensor:
        """``x A``, ``[1, S, R]``."""
        if self.a is not None:
            return F.linear(x, self.a)
        parts = [] if self.rows is None else [self.rows(x)]
        if (private := self.inputs.get(f"{self.name}.A")) is not None:
            parts.append(self.product(x, private))
        return torch.cat(parts, -1) if len(parts) > 1 else parts[0]

    def up(self, x: torch.Tensor) -> torch.Tensor:
        """``x B``."""
        if self.b is not None:
            return F.linear(x, self.b)
        return self.product(x, self.inputs[f"{self.name}.B"])


class SurgerySlot(Slot):
    """A layer whose input is corrected first, see :mod:`hydraopt.factors.surgery`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [1, S, in]`` -> ``[1, S, out]``."""
        return self.layer(x + self.up(self.down(x).relu()))


class HeadSlot(Slot):
    """A task's classifier in place of the base's, see :mod:`hydraopt.factors.heads`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [1, d]`` -> logits ``[1, R]``; or of every token, ``[1, S, d] -> [1, S, R]``."""
        bias = self.inputs[f"{self.name}.B"][0].T if self.b is None else self.b
        return (self.down(x[None])[0] if x.dim() == 2 else self.down(x)) + bias


def insert_slots(
    model: nn.Module, shapes: Mapping[str, tuple[int, int]], product: Product = torch.bmm
) -> dict[str, torch.Tensor]:
    """Wrap every module in ``shapes`` in a :class:`Slot`, in place.

    Args:
        model: the base model.
        shapes: dotted module name -> ``(out, in)`` of the adapters.
        product: multiplies an activation by an input, see :meth:`.Backend.product`.

    Returns:
        The dict from which the slots read their factors.

    Raises:
        LoweringError: the base lacks a module, or it is not a linear layer of this shape.
    """
    inputs: dict[str, torch.Tensor] = {}
    for name, shape in shapes.items():
        target = Target.parse(name)
        if target.role is Role.SURGERY:
            layer = model.get_submodule(place(model, target.layer))
            slot = SurgerySlot(layer, name, inputs, product)
        elif target.role is Role.HEAD:
            check_head(model, target.layer, shape[1])
            slot = HeadSlot(nn.Identity(), name, inputs, product)
        else:
            layer = linear_layer(model, name, shape)
            slot = Slot(layer, name, inputs, product)
        model.set_submodule(place(model, target.layer), slot)
    return inputs


def slot_layers(modules: Collection[str]) -> list[str]:
    """Return the dotted names of the layers that have slots."""
    return [Target.parse(name).layer for name in modules]


def set_rows(model: nn.Module, rows: Mapping[str, IntegerWeight], backend: Backend) -> None:
    """Add the shared rows to the slots of ``model`` as quantised layers, in place.

    Args:
        model: model with slots, quantised already.
        rows: rows by module, see :func:`~hydraopt.packing.rows.shared_rows`.
        backend: backend of the layers.
    """
    for module in model.modules():
        if isinstance(module, Slot) and module.name in rows:
            module.rows = backend.row_layer(rows[module.name])


def set_constants(model: nn.Module, factors: Mapping[str, Factors]) -> None:
    """Set one task's factors as constants of all slots in ``model``."""
    for module in model.modules():
        if isinstance(module, Slot):
            module.a, module.b = factors[module.name]
