"""The ways in which a program takes one of several tasks' factors.

Each is a function that lowers a prepared base and writes beside it what a task needs.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from ..errors import LoweringError
from ..formats.manifest import DATA, DECODE, FORWARD, INPUTS, METHODS
from ..formats.pack import Pack
from ..packing import CodedAdapters, Groups, shared_rows
from .base_model import BaseModel
from .data_files import lower_with_data
from .factors import factor_shapes, module_shapes, slot_factors
from .form import Form
from .program import Program, export_decode, lower
from .slots import insert_slots, set_constants, slot_layers

logger = logging.getLogger(__name__)

DATA_SUFFIX = ".ptd"


@dataclass(frozen=True)
class Swapped:
    """A program for several tasks, and what its manifest says of them.

    Attributes:
        program: what was lowered.
        packs: task -> where its pack or .ptd file is.
        methods: task -> method name, where tasks have no files.
        static_rows: whether rows that all tasks share are layers of the program.
        constant_bytes: bytes of the factors that are constants of the program.
        factors: shapes of the factor inputs by name.
    """

    program: Program
    packs: Mapping[str, Pack] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    static_rows: bool = False
    constant_bytes: int = 0
    factors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def as_inputs(coded: CodedAdapters, base: BaseModel, form: Form, staging: Path) -> Swapped:
    """Factors are inputs of ``forward``; ``decode`` makes them of a task's pack."""
    rows = _layer_rows(coded, form)
    static = rows is not None
    module = slotted(base, form, module_shapes(coded.layout), rows)
    shapes = factor_shapes(coded.layout, static_rows=static)
    methods = {
        FORWARD: base.kind.export(module, shapes, form),
        DECODE: export_decode(coded.layout, static_rows=static),
    }
    program = lower(methods, slot_layers(coded.modules), base.metadata(form))
    return Swapped(
        program,
        packs=coded.write_packs(staging),
        static_rows=static,
        constant_bytes=_row_bytes(rows),
        factors=shapes,
    )


def as_methods(coded: CodedAdapters, base: BaseModel, form: Form, staging: Path) -> Swapped:
    """A closed set of tasks: each has its method, whose constants are its factors."""
    module = slotted(base, form, module_shapes(coded.layout))
    tasks = {task: f"task_{number}" for number, task in enumerate(coded.tasks)}
    exported = {}
    for task, method in tasks.items():
        set_constants(module, coded.task_factors(task))
        exported[method] = base.kind.export(module, {}, form)
        logger.info("exported %s as method %s", task, method)
    program = lower(exported, slot_layers(coded.modules), base.metadata(form))
    values = sum(len(m.directions) * sum(m.shape) for m in coded.layout.modules.values())
    return Swapped(program, methods=tasks, constant_bytes=4 * values * len(tasks))


def as_data(coded: CodedAdapters, base: BaseModel, form: Form, staging: Path) -> Swapped:
    """A .ptd file of float32 factors for each task, which a runner loads with the program.

    All rows are in it: beside rows that are layers, XNNPACK does not take constants of a few rows.

    Raises:
        LoweringError: no causal LM: such runners take no other program.
    """
    if not base.kind.generates:
        raise LoweringError(
            f"the base model is of kind {base.kind.name}, expected a causal LM for files of "
            "factors; export with --swap inputs or methods"
        )
    lowered = lower_with_data(
        slotted(base, form, module_shapes(coded.layout)),
        slot_factors(coded.task_factors(coded.tasks[0])),
        form.prefill_length,
        slot_layers(coded.modules),
        base.metadata(form),
    )
    (staging / DATA).mkdir()
    files = {task: f"{DATA}/{task}{DATA_SUFFIX}" for task in coded.tasks}
    for task, name in files.items():
        (staging / name).write_bytes(lowered.data(slot_factors(coded.task_factors(task))))
    packs = {task: Pack.of(staging, name) for task, name in files.items()}
    return Swapped(lowered.program, packs=packs)


SWAPS: Mapping[str, Callable[[CodedAdapters, BaseModel, Form, Path], Swapped]] = {
    INPUTS: as_inputs,
    METHODS: as_methods,
    DATA: as_data,
}


def _layer_rows(coded: CodedAdapters, form: Form) -> dict[str, Groups | torch.Tensor] | None:
    """The rows that become layers of a quantised base; None if rows are inputs.

    What tasks share as a whole is no layer of rows: it is decoded like the rest.
    """
    if form.quantize == "none" or coded.layout.shares_columns:
        return None
    return shared_rows(coded.layout, coded.shared)


def slotted(
    base: BaseModel,
    form: Form,
    shapes: Mapping[str, tuple[int, int]],
    rows: Mapping[str, Groups | torch.Tensor] | None = None,
) -> nn.Module:
    """The module that is exported: a base in its form with slots; changes ``base`` in place.

    Args:
        base: the base model.
        form: resolved.
        shapes: dotted module name -> ``(out, in)`` of the adapters.
        rows: as :func:`.slots.insert_slots` takes them.

    Raises:
        LoweringError: a form or slots that the base cannot have.
    """
    make = base.kind.prepared(base.model, form)
    return make(insert_slots(base.model, shapes, rows))


def _row_bytes(rows: Mapping[str, Groups | torch.Tensor] | None) -> int:
    """Bytes of shared rows as layers: int4 with a scale per group, or int8 with one per row."""
    return sum(
        x.values.numel() // 2 + 2 * x.scales.numel()
        if isinstance(x, Groups)
        else x.numel() + 4 * len(x)
        for x in (rows or {}).values()
    )
