"""Slots: the places in a base model that take one task's factors.

A slot computes ``linear(x) + (x Aᵀ) B``, B's columns lying as rows. The factors are inputs of the
program, multiplied by ``torch.bmm``, the one form with a non-constant operand that XNNPACK takes;
or constants, where each task has its own method.
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

from ..adapters import Factors
from ..errors import LoweringError


class Slot(nn.Module):
    """A linear layer and its low-rank update.

    Args:
        linear: the base layer.
        name: its dotted name in the base model.
        inputs: where the outer module puts the factors of the running call, by name:
            ``A [1, R, in]`` and ``B [1, R, out]``.
    """

    def __init__(self, linear: nn.Module, name: str, inputs: dict[str, torch.Tensor]):
        super().__init__()
        self.linear = linear
        self.name = name
        self.inputs = inputs
        self.register_buffer("a", None)
        self.register_buffer("b", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [1, S, in]`` -> ``[1, S, out]``."""
        if self.a is not None:
            return self.linear(x) + F.linear(F.linear(x, self.a), self.b)
        # A on the left: XNNPACK packs the right operand in every call, and x is the smaller one
        update = torch.bmm(self.inputs[f"{self.name}.A"], x.transpose(1, 2)).transpose(1, 2)
        return self.linear(x) + torch.bmm(update, self.inputs[f"{self.name}.B"])


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
        linear = linear_layer(model, name, shape)
        parent = model.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], Slot(linear, name, inputs))
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
