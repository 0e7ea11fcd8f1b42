"""One adapter for all tasks: what changes the base is part of the program, which has no factors.

Adapters that are equal for all tasks are added to the base's weights before these are quantised,
so that the program is as small and as fast as the base's own.
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
    """What a base model gets for good.

    Attributes:
        base_model: identifier of the base model.
        method: how it was made.
        tasks: names of the tasks that it serves.
        adapter_bytes: fp16 bytes of the adapters that it is made of.
        constant_bytes: of what the program holds beside the base's own weights, float32.
        apply: changes a base model in place, before it is restructured, and gives the names of the
            layers whose matrix products must be delegated; raises ``LoweringError`` if it is
            another model.
        classes: task -> number of classes of its head, if the tasks have some.
        task_type: PEFT's name of the kind of base model.
        factors: by module, where it is a LoRA adapter.
        base_weights: what the base must be equal in.
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
        """``(out, in)`` of the modules of ``factors``."""
        return {module: update.shape for module, update in self.factors.items()}

    def placed(self, places: Places) -> "StaticAdapter":
        """The same of modules with other names, without those that have no place."""
        if not self.factors:
            return self
        factors = placed(self.factors, places)
        return replace(self, factors=factors, apply=partial(add_to_weights, factors=factors))


def add_to_weights(model: nn.Module, factors: Mapping[str, Factors]) -> Collection[str]:
    """Add ``B A`` to the weights of ``model``, in place; surgery and head become parts of it.

    Returns:
        The names of the layers that became slots.

    Raises:
        LoweringError: a module that the base lacks, that is no linear layer, or of another shape.
    """
    parts = {name: x for name, x in factors.items() if Target.parse(name).role}
    for name in factors.keys() - parts.keys():
        update = factors[name]
        add_delta(linear_layer(model, name, update.shape).weight, update)
    insert_slots(model, {name: update.shape for name, update in parts.items()})
    set_constants(model, parts)
    return slot_layers(parts)


def static_merged(merged: StoredAdapters) -> StaticAdapter:
    """Merged adapters as a change of the base's weights.

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
    """A sparse adapter as a change of the base's weights."""

    def apply(model: nn.Module) -> Collection[str]:
        with torch.no_grad():
            for name, delta in adapter.modules.items():
                linear_layer(model, name, delta.shape).weight.add_(delta.dense())
        return ()

    stored = adapter.stored_bytes
    return StaticAdapter(adapter.base_model, "sparse", adapter.tasks, stored, 0, apply)


def static_hydralora(adapter: HydraLora, task: str) -> StaticAdapter:
    """A HydraLoRA adapter as layers of the base: its routers run inside the program."""

    def apply(model: nn.Module) -> Collection[str]:
        layers = {name: linear_layer(model, name, x.shape) for name, x in adapter.modules.items()}
        make = partial(HydraLinear, config=adapter.config)
        adapter.fill(replace_layers(model, layers, make))
        model.eval()
        return layers

    values = adapter.values
    method = f"hydralora, {adapter.config.experts} experts"
    return StaticAdapter(adapter.base_model, method, (task,), 2 * values, 4 * values, apply)
