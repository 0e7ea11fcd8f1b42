"""Slots: the places in a base model that take one task's factors.

A slot computes ``linear(x) + (x Aᵀ) B``, B's columns lying as rows; a surgery's slot computes
``layer(x + relu(x Aᵀ) B)``. The factors are inputs of the
program, multiplied by ``torch.bmm``, the one form with a non-constant operand that XNNPACK takes;
or constants, where each task has its own method.
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

from ..adapters import Factors, operated_layer
from ..errors import LoweringError


class Slot(nn.Module):
    """A linear layer and its low-rank update.

    Args:
        layer: the base layer.
        name: its dotted name in the base model.
        inputs: where the outer module puts the factors of the running call, by name:
            ``A [1, R, in]`` and ``B [1, R, out]``.
    """

    def __init__(self, layer: nn.Module, name: str, inputs: dict[str, torch.Tensor]):
        super().__init__()
        self.layer = layer
        self.name = name
        self.inputs = inputs
        self.register_buffer("a", None)
        self.register_buffer("b", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [1, S, in]`` -> ``[1, S, out]``."""
        return self.layer(x) + self.up(self.down(x))

    def down(self, x: torch.Tensor) -> torch.Tensor:
        """``A x``, ``[1, S, R]``."""
        if self.a is not None:
            return F.linear(x, self.a)
        # A on the left: XNNPACK packs the right operand in every call, and x is the smaller one
        return torch.bmm(self.inputs[f"{self.name}.A"], x.transpose(1, 2)).transpose(1, 2)

    def up(self, x: torch.Tensor) -> torch.Tensor:
        """``B x``."""
        if self.b is not None:
            return F.linear(x, self.b)
        return torch.bmm(x, self.inputs[f"{self.name}.B"])


class SurgerySlot(Slot):
    """A layer whose input is corrected first, see :mod:`hydraopt.adapters.surgery`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [1, S, in]`` -> ``[1, S, out]``."""
        return self.layer(x + self.up(self.down(x).relu()))


def insert_slots(
    model: nn.Module, shapes: Mapping[str, tuple[int, int]]
) -> dict[str, torch.Tensor]:
    """Wrap every module named in ``shapes`` into a :class:`Slot`, in place.

    Args:
        model: the base model.
        shapes: dotted module name -> ``(out, in)`` of the adapters.

    Returns:
        The dict through which the slots read their factors.

    Raises:
        LoweringError: a module that the base lacks, that is no linear layer, or of another shape.
    """
    inputs: dict[str, torch.Tensor] = {}
    for name, shape in shapes.items():
        if layer := operated_layer(name):
            slot = SurgerySlot(model.get_submodule(layer), name, inputs)
        else:
            layer, slot = name, Slot(linear_layer(model, name, shape), name, inputs)
        model.set_submodule(layer, slot)
    return inputs


def set_constants(model: nn.Module, factors: Mapping[str, Factors]) -> None:
    """Give all slots in ``model`` one task's factors as constants, in place of inputs."""
    for module in model.modules():
        if isinstance(module, Slot):
            module.a, module.b = factors[module.name]


def linear_layer(model: nn.Module, name: str, shape: tuple[int, int]) -> nn.Linear:
    """The base's linear layer ``name``, checked against the adapters' ``(out, in)``.

    Raises:
        LoweringError: as :func:`insert_slots`.
    """
    try:
        module = model.get_submodule(name)
    except AttributeError:
        raise LoweringError(
            f"the base model has no module {name}, which the adapters change; "
            "pass the base model that they were trained on"
        ) from None
    if not isinstance(module, nn.Linear):
        raise LoweringError(
            f"module {name} is a {type(module).__name__}, expected nn.Linear; "
            "adapters of other layers cannot be lowered"
        )
    found = (module.out_features, module.in_features)
    if found != tuple(shape):
        raise LoweringError(
            f"module {name} of the base model is {found} (out, in), expected {tuple(shape)} as in "
            "the adapters; pass the base model that they were trained on"
        )
    return module
