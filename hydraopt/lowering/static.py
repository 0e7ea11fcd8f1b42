"""One adapter for all tasks, built into the program.

LoRA and sparse adapters are added to the base's weights before quantisation, so that the program is
as small and as fast as the base's own.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn

from ..adapters import PEFT_CAUSAL_LM, BaseWeights
from ..base_layers import replace_layers
from ..errors import LoweringError
from ..factors import Factors, Places, Target, add_delta, placed
from ..hydralora import HydraLinear, HydraLora
from ..sparse import SparseAdapter
from ..stored import StoredAdapters
from .layers import linear_layer
from .slots import insert_slots, set_constants, slot_layers


@dataclass(frozen=True)
class StaticAdapter:
    """An adapter that becomes part of the base model.

    Attributes:
        base_model: identifier of the base model.
        method: method that made the adapter.
        tasks: names of its tasks.
        adapter_bytes: fp16 bytes of the original adapters.
        constant_bytes: float32 bytes that the program holds besides the base's weights.
        apply: changes a base model in place, before it is restructured, and returns the names of
            layers whose matrix products must be delegated; raises ``LoweringError`` if the base
            does not fit.
        classes: task -> number of classes of its head; empty without heads.
        task_type: PEFT task type.
        factors: factors by module; empty unless it is a LoRA adapter.
        base_weights: copies of base weights, to compare with the base.
    """

    base_model: str
    method: str
    tasks: tuple[str, ...]
    adapter_bytes: int
    constant_bytes: int
    apply: Callable[[nn.Module], Collection[str]]
    classes: Mapping[str, int] = field(default_factory=dict)
    task_type: str | None = PEFT_CAUSAL_LM
    factors: Mapping[str, Factors] = field(default_factory=dict)
    base_weights: BaseWeights = field(default_factory=dict)

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Module -> ``(out, in)`` of its factors."""
        return {module: update.shape for module, update in self.factors.items()}

    def placed(self, places: Places) -> "StaticAdapter":
        """Rename modules to their places in the base, and drop those without one."""
        if not self.factors:
            return self
        factors = placed(self.factors, places)
        return replace(self, factors=factors, apply=partial(add_to_weights, factors=factors))


def add_to_weights(model: nn.Module, factors: Mapping[str, Factors]) -> Collection[str]:
    """Add ``B A`` to the weights of ``model`` in place; surgeries and heads become slots.

    Returns:
        Names of the layers that became slots.

    Raises:
        LoweringError: the base lacks a module, or it is not a linear layer of this shape.
    """
    parts = {name: x for name, x in factors.items() if Target.parse(name).role}
    for name in factors.keys() - parts.keys():
        update = factors[name]
        add_delta(linear_layer(model, name, update.shape).weight, update)
    insert_slots(model, {name: update.shape for name, update in parts.items()})
    set_constants(model, parts)
    return slot_layers(parts)


def static_merged(merged: StoredAdapters) -> StaticAdapter:
    """Convert stored adapters that are equal for all tasks.

    Raises:
        LoweringError: the tasks have different adapters.
    """
    if not merged.one_for_all:
        raise LoweringError(
            f"the {len(merged.tasks)} tasks of this {merged.method} result differ, expected one "
            "adapter for all to put into the weights; export them as several tasks, merge with a "
            "method that gives one model (average, ties, …), or unmerge a task and merge it alone",
            options=["static"],
        )
    factors = merged.task_factors(merged.tasks[0])
    return StaticAdapter(
        merged.base_model,
        merged.method,
        merged.tasks,
        merged.adapter_bytes,
        0,
        partial(add_to_weights, factors=factors),
        merged.classes,
        merged.task_type,
        factors,
        merged.base_weights,
    )


def static_sparse(adapter: SparseAdapter) -> StaticAdapter:
    """Convert a sparse adapter."""

    def apply(model: nn.Module) -> Collection[str]:
        with torch.no_grad():
            for name, delta in adapter.modules.items():
                linear_layer(model, name, delta.shape).weight.add_(delta.dense())
        return ()

    stored = adapter.stored_bytes
    return StaticAdapter(adapter.base_model, "sparse", adapter.tasks, stored, 0, apply)


def static_hydralora(adapter: HydraLora, task: str) -> StaticAdapter:
    """Convert a HydraLoRA adapter to layers of the base, with routers in the program."""

    def apply(model: nn.Module) -> Collection[str]:
        layers = {name: linear_layer(model, name, x.shape) for name, x in adapter.modules.items()}
        make = partial(HydraLinear, config=adapter.config)
        adapter.fill(replace_layers(model, layers, make))
        model.eval()
        return layers

    values = adapter.values
    method = f"hydralora, {adapter.config.experts} experts"
    return StaticAdapter(adapter.base_model, method, (task,), 2 * values, 4 * values, apply)
