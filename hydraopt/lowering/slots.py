"""Slots: the places in a base model that take one task's factors.

A slot computes ``layer(x) + x A B``; a surgery's slot computes ``layer(x + relu(x A) B)``. A's
columns are, in the layout's order, rows that all tasks share, a quantised layer of the program,
and a task's private rows, which are an input of the program like B. Or A and B are constants,
where each task has its own method. A head's slot computes ``x A + B`` in place of its layer.
"""

from collections.abc import Collection, Mapping

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from ..adapters import Factors, Role, Target
from ..errors import LoweringError
from ..packing import Groups
from .decoder import LastPosition
from .xnnpack import row_layer, times


class Slot(nn.Module):
    """A layer and its low-rank update.

    Args:
        layer: the base layer.
        name: its dotted name in the base model.
        inputs: where the outer module puts the factors of the running call, by name:
            ``A [1, in, n]``, unless all rows are shared, and ``B [1, R, out]``.

    Attributes:
        rows: the layer of the rows that all tasks share, ``[1, S, in] -> [1, S, R - n]``; None if
            they are inputs, too.
    """

    rows: nn.Module | None

    def __init__(self, layer: nn.Module, name: str, inputs: dict[str, torch.Tensor]):
        super().__init__()
        self.layer, self.name, self.inputs, self.rows = layer, name, inputs, None
        self.register_buffer("a", None)
        self.register_buffer("b", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [1, S, in]`` -> ``[1, S, out]``; or ``[1, in] -> [1, out]``, after a pooling."""
        if x.dim() == 2:
            return self.layer(x) + self.up(self.down(x[None]))[0]
        return self.layer(x) + self.up(self.down(x))

    def down(self, x: torch.Tensor) -> torch.Tensor:
        """``x A``, ``[1, S, R]``."""
        if self.a is not None:
            return F.linear(x, self.a)
        parts = [] if self.rows is None else [self.rows(x)]
        if (private := self.inputs.get(f"{self.name}.A")) is not None:
            parts.append(times(x, private))
        return torch.cat(parts, -1) if len(parts) > 1 else parts[0]

    def up(self, x: torch.Tensor) -> torch.Tensor:
        """``x B``."""
        return times(x, self.inputs[f"{self.name}.B"]) if self.b is None else F.linear(x, self.b)


class SurgerySlot(Slot):
    """A layer whose input is corrected first, see :mod:`hydraopt.adapters.surgery`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [1, S, in]`` -> ``[1, S, out]``."""
        return self.layer(x + self.up(self.down(x).relu()))


class HeadSlot(Slot):
    """A task's classifier in place of the base's, see :mod:`hydraopt.adapters.heads`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [1, d]`` -> logits ``[1, R]``."""
        bias = self.inputs[f"{self.name}.B"][0].T if self.b is None else self.b
        return self.down(x[None])[0] + bias


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
        target = Target.parse(name)
        if target.role is Role.SURGERY:
            layer = model.get_submodule(_place(model, target.layer))
            slot = SurgerySlot(layer, name, inputs)
        elif target.role is Role.HEAD:
            _check_head(model, target.layer, shape[1])
            slot = HeadSlot(nn.Identity(), name, inputs)
        else:
            layer = linear_layer(model, name, shape)
            slot = Slot(layer, name, inputs)
        model.set_submodule(_place(model, target.layer), slot)
    return inputs


def slot_layers(modules: Collection[str]) -> list[str]:
    """Dotted names under which the slots of adapted modules lie in the base model."""
    return [Target.parse(name).layer for name in modules]


def set_rows(model: nn.Module, rows: Mapping[str, Groups | torch.Tensor]) -> None:
    """Make the rows that all tasks share quantised layers of the slots in ``model``, in place.

    Args:
        model: with slots; its linear layers are quantised already.
        rows: by module, see :func:`~hydraopt.packing.rows.shared_rows`.
    """
    for module in model.modules():
        if isinstance(module, Slot) and module.name in rows:
            module.rows = row_layer(rows[module.name])


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
    module = _linear(model, name)
    found = (module.out_features, module.in_features)
    if found != tuple(shape):
        raise LoweringError(
            f"module {name} of the base model is {found} (out, in), expected {tuple(shape)} as in "
            "the adapters; pass the base model that they were trained on"
        )
    return module


def _check_head(model: nn.Module, name: str, width: int) -> None:
    if (found := _linear(model, name).in_features) != width:
        raise LoweringError(
            f"module {name} of the base model takes {found} features, expected {width} as the "
            "heads of the adapters; pass the base model that they were trained on"
        )


def _place(model: nn.Module, name: str) -> str:
    """Where a layer lies in a model: inside what applies the last one to one position only."""
    return f"{name}.head" if isinstance(model.get_submodule(name), LastPosition) else name


def _check_untied(model: nn.Module, name: str) -> None:
    """Refuse to change a layer whose weights are also the token embedding's."""
    config = model.config if isinstance(model, PreTrainedModel) else None
    tied = getattr(config, "tie_word_embeddings", False)  # models without tokens do not say
    if tied and model.get_submodule(name) is model.get_output_embeddings():
        raise LoweringError(
            f"the adapters change {name}, whose weights the base model ties to its token "
            "embedding, expected adapters of other layers; train them without it"
        )


def _linear(model: nn.Module, name: str) -> nn.Linear:
    try:
        module = model.get_submodule(_place(model, name))
    except AttributeError:
        raise LoweringError(
            f"the base model has no module {name}, which the adapters change; "
            "pass the base model that they were trained on"
        ) from None
    _check_untied(model, name)
    if not isinstance(module, nn.Linear):
        raise LoweringError(
            f"module {name} is a {type(module).__name__}, expected nn.Linear; "
            "adapters of other layers cannot be lowered"
        )
    return module
