"""Slots: the places in a base model that take one task's factors.

A slot computes ``linear(x) + (x Aᵀ) Bᵀ``. A factor that tasks do not share is an input of the
program and multiplied by ``torch.bmm``, the one form with a non-constant operand that XNNPACK
takes; a shared factor is a constant and multiplied as a linear layer.
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

from ..errors import LoweringError


class Slot(nn.Module):
    """A linear layer and its low-rank update.

    Args:
        linear: the base layer.
        name: its dotted name in the base model.
        inputs: where the outer module puts the factor inputs of the running call, by name.
        a: constant ``A [r, in]``, or None if A is an input.
        b: constant ``B [out, r]``, or None if B is an input.
    """

    def __init__(
        self,
        linear: nn.Module,
        name: str,
        inputs: dict[str, torch.Tensor],
        a: torch.Tensor | None,
        b: torch.Tensor | None,
    ):
        super().__init__()
        self.linear = linear
        self.name = name
        self.inputs = inputs
        self.register_buffer("a", a)
        self.register_buffer("b", b)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [1, S, in]`` -> ``[1, S, out]``."""
        update = self._apply(x, self.a, f"{self.name}.A")
        return self.linear(x) + self._apply(update, self.b, f"{self.name}.B")

    def _apply(self, x: torch.Tensor, constant: torch.Tensor | None, name: str) -> torch.Tensor:
        if constant is None:
            return torch.bmm(x, self.inputs[name])
        return F.linear(x, constant)


def insert_slots(
    model: nn.Module,
    shapes: Mapping[str, tuple[int, int]],
    constants: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Wrap every module named in ``shapes`` into a :class:`Slot`, in place.

    Args:
        shapes: dotted module name -> ``(out, in)`` of the adapters.
        constants: ``module.A`` / ``module.B`` -> constant factor; what is missing is an input.

    Returns:
        The dict through which the slots read their factor inputs.

    Raises:
        LoweringError: a module that the base lacks, that is no linear layer, or of another shape.
    """
    inputs: dict[str, torch.Tensor] = {}
    for name, shape in shapes.items():
        linear = linear_layer(model, name, shape)
        parent = model.get_submodule(name.rpartition(".")[0])
        slot = Slot(linear, name, inputs, constants.get(f"{name}.A"), constants.get(f"{name}.B"))
        setattr(parent, name.rpartition(".")[2], slot)
    return inputs


def set_constants(model: nn.Module, constants: Mapping[str, torch.Tensor]) -> None:
    """Replace the constants of all slots in ``model``; ``constants`` as in :func:`insert_slots`."""
    for module in model.modules():
        if isinstance(module, Slot):
            module.a = constants.get(f"{module.name}.A")
            module.b = constants.get(f"{module.name}.B")


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
