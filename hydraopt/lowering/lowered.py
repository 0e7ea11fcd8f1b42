"""From a plan to a program, and to what a task needs beside it: one function per swap."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel

from ..errors import require
from ..formats.manifest import FORWARD, UNPACK
from ..formats.pack import Pack
from ..formats.swaps import DATA, INPUTS, TASK_METHODS
from ..packing import IntegerRows
from ..progress import report_stage
from .backends import find_backend
from .base_model import BaseModel
from .check import expect, largest_deviation
from .data_files import lower_with_data
from .factors import slot_factors
from .kinds.kind import Inputs
from .plan import Plan, StaticPlan, SwapPlan
from .program import Program, export_unpack, lower
from .settings import ExportSettings
from .simplify import quantize_embedding
from .slots import insert_slots, set_constants, set_rows, slot_layers

logger = logging.getLogger(__name__)

DATA_SUFFIX = ".ptd"


@dataclass(frozen=True)
class Lowered:
    """What was lowered.

    Attributes:
        program: all methods.
        constant_bytes: of the factors that are constants of the program.
        packs: task -> where its pack or .ptd file is.
        deviation: from transformers, see :func:`.check.largest_deviation`; None if not compared.
    """

    program: Program
    constant_bytes: int = 0
    packs: Mapping[str, Pack] = field(default_factory=dict)
    deviation: float | None = None


def lower_plan(plan: Plan, directory: Path) -> Lowered:
    """Lower a plan and write its packs or .ptd files to ``directory``.

    Raises:
        LoweringError: a base that does not fit the adapters, a model that computes other numbers
            than transformers, or a slot that was not delegated.
    """
    if isinstance(plan, StaticPlan):
        return _static(plan)
    return _LOWER[plan.swap](plan, directory)


def _with_inputs(plan: SwapPlan, directory: Path) -> Lowered:
    """Factors are inputs of ``forward``; ``unpack`` makes them of a task's pack."""
    base, settings, coded = plan.base, plan.settings, plan.adapters
    module, deviation = _checked(plan, lambda _, task: slot_factors(coded.task_factors(task)))
    methods = {
        FORWARD: base.kind.export(module, plan.factors, settings),
        UNPACK: export_unpack(coded.layout, static_rows=plan.static_rows),
    }
    program = lower(methods, plan.backend, slot_layers(coded.modules), base.metadata(settings))
    packs = coded.write_packs(directory, single=plan.single_pack)
    return Lowered(program, sum(x.nbytes for x in (plan.rows or {}).values()), packs, deviation)


def _with_methods(plan: SwapPlan, _: Path) -> Lowered:
    """A closed set of tasks: each has its method, whose constants are its factors."""
    base, settings, coded = plan.base, plan.settings, plan.adapters

    def constants(module: nn.Module, task: str) -> Inputs:
        set_constants(module, coded.task_factors(task))
        return {}

    module, deviation = _checked(plan, constants)
    exported = {}
    for task, method in plan.methods.items():
        set_constants(module, coded.task_factors(task))
        exported[method] = base.kind.export(module, {}, settings)
        logger.info("exported %s as method %s", task, method)
    program = lower(exported, plan.backend, slot_layers(coded.modules), base.metadata(settings))
    values = sum(len(m.directions) * sum(m.shape) for m in coded.layout.modules.values())
    return Lowered(program, 4 * values * len(plan.methods), deviation=deviation)


def _with_data(plan: SwapPlan, directory: Path) -> Lowered:
    """A .ptd file of float32 factors for each task, which a runner loads with the program.

    All rows are in it: beside rows that are layers, XNNPACK does not take constants of a few rows.
    """
    base, settings, coded = plan.base, plan.settings, plan.adapters
    module, deviation = _checked(plan, lambda _, task: slot_factors(coded.task_factors(task)))
    lowered = lower_with_data(
        module,
        slot_factors(coded.task_factors(coded.tasks[0])),
        require(settings.prefill_length, "prefill length"),
        plan.backend,
        slot_layers(coded.modules),
        base.metadata(settings),
    )
    (directory / DATA).mkdir()
    files = {task: f"{DATA}/{task}{DATA_SUFFIX}" for task in coded.tasks}
    for task, name in files.items():
        (directory / name).write_bytes(lowered.data(slot_factors(coded.task_factors(task))))
    packs = {task: Pack.of(directory, name) for task, name in files.items()}
    return Lowered(lowered.program, 0, packs, deviation)


def _static(plan: StaticPlan) -> Lowered:
    """All tasks are the method ``forward`` of a base that was changed before it is quantised."""
    base, settings, adapter = plan.base, plan.settings, plan.adapters
    expected, task = [], adapter.tasks[0]
    if plan.check and adapter.factors:
        expected = expect(base, settings, {task: adapter.factors})
    layers = adapter.apply(base.model)
    if plan.check and not adapter.factors:
        expected = expect(base, settings, {task: {}})
    module = float_module(base, settings, {})
    deviation = largest_deviation(base.kind, module, expected, lambda _: {})
    quantize(base.model, settings)
    program = _lower_forward(base, settings, module, layers)
    return Lowered(program, adapter.constant_bytes, deviation=deviation)


_LOWER: Mapping[str, Callable[[SwapPlan, Path], Lowered]] = {
    INPUTS: _with_inputs,
    TASK_METHODS: _with_methods,
    DATA: _with_data,
}


def lower_base(base: BaseModel, settings: ExportSettings, layers: Collection[str] = ()) -> Program:
    """The program of a base model without slots.

    Args:
        base: the base model; it is changed in place.
        settings: of the export, resolved.
        layers: those whose matrix products must be delegated.

    Raises:
        LoweringError: as :func:`.program.lower`.
    """
    return _lower_forward(base, settings, slotted(base, settings, {}), layers)


def _lower_forward(
    base: BaseModel, settings: ExportSettings, module: nn.Module, layers: Collection[str]
) -> Program:
    exported = base.kind.export(module, {}, settings)
    backend = find_backend(settings.backend)
    return lower({FORWARD: exported}, backend, layers, base.metadata(settings))


def _checked(
    plan: SwapPlan, use: Callable[[nn.Module, str], Inputs]
) -> tuple[nn.Module, float | None]:
    """The module that is exported and its deviation from transformers.

    Args:
        plan: of several tasks.
        use: gives a task's factors as a module that is not quantised yet takes them.
    """
    base, settings, coded = plan.base, plan.settings, plan.adapters
    tasks = (coded.tasks[0], coded.tasks[-1]) if plan.check else ()
    expected = expect(base, settings, {task: coded.task_factors(task) for task in tasks})
    module = float_module(base, settings, coded.shapes)
    deviation = largest_deviation(base.kind, module, expected, partial(use, module))
    quantize(base.model, settings, plan.rows)
    return module, deviation


def slotted(
    base: BaseModel, settings: ExportSettings, shapes: Mapping[str, tuple[int, int]]
) -> nn.Module:
    """The module that is exported: a restructured base with slots; changes ``base`` in place.

    Args:
        base: the base model.
        settings: of the export, resolved.
        shapes: dotted module name -> ``(out, in)`` of the adapters.

    Raises:
        LoweringError: settings or slots that the base cannot have.
    """
    module = float_module(base, settings, shapes)
    quantize(base.model, settings)
    return module


def float_module(
    base: BaseModel, settings: ExportSettings, shapes: Mapping[str, tuple[int, int]]
) -> nn.Module:
    """As :func:`slotted`, before anything is quantised."""
    make = base.kind.restructure(base.model, settings)
    product = find_backend(settings.backend).product
    return make(insert_slots(base.model, shapes, product))


def quantize(
    model: PreTrainedModel,
    settings: ExportSettings,
    rows: Mapping[str, IntegerRows] | None = None,
) -> None:
    """Quantise a restructured base in place; ``rows`` as in :func:`slotted`."""
    report_stage("Quantising the base model")
    backend = find_backend(settings.backend)
    backend.quantize(model, settings.scheme)
    if settings.embedding is not None:
        quantize_embedding(model, settings.embedding)
    set_rows(model, rows or {}, backend)
