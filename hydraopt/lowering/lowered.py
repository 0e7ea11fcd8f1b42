"""Lower a plan to a program and its packs: one function per swap."""

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
from .kinds.kind import FactorInputs
from .plan import Plan, StaticPlan, SwapPlan
from .program import Program, export_unpack, lower
from .settings import ExportSettings
from .simplify import quantize_embedding
from .slots import insert_slots, set_constants, set_rows, slot_layers

logger = logging.getLogger(__name__)

DATA_SUFFIX = ".ptd"


@dataclass(frozen=True)
class Lowered:
    """A lowered plan.

    Attributes:
        program: the program with all methods.
        constant_bytes: bytes of factors that are constants of the program.
        packs: task -> place of its pack or .ptd file.
        deviation: deviation from transformers, see :func:`.check.largest_deviation`; None if it was
            not compared.
    """

    program: Program
    constant_bytes: int = 0
    packs: Mapping[str, Pack] = field(default_factory=dict)
    deviation: float | None = None


def lower_plan(plan: Plan, directory: Path) -> Lowered:
    """Lower a plan and write its packs or .ptd files to ``directory``.

    Raises:
        LoweringError: the base does not fit the adapters, the model differs from transformers, or
            a slot was not delegated.
    """
    if isinstance(plan, StaticPlan):
        return _static(plan)
    return _LOWER[plan.swap](plan, directory)


def _with_inputs(plan: SwapPlan, directory: Path) -> Lowered:
    """Factors are inputs of ``forward``, made by ``unpack`` from a task's pack."""
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
    """One method per task, with constant factors; the set of tasks is closed."""
    base, settings, coded = plan.base, plan.settings, plan.adapters

    def constants(module: nn.Module, task: str) -> FactorInputs:
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
    """One .ptd file of float32 factors per task, which a runner loads with the program.

    It has all rows: XNNPACK does not take external constants of a few rows beside row layers.
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
    """One model for all tasks: the adapter changes the base before quantisation."""
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
    """Lower a base model without slots.

    Args:
        base: the base model, changed in place.
        settings: export settings, resolved.
        layers: layers whose matrix products must be delegated.

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
    plan: SwapPlan, use: Callable[[nn.Module, str], FactorInputs]
) -> tuple[nn.Module, float | None]:
    """Return the module to export and its deviation from transformers.

    Args:
        plan: plan for several tasks.
        use: sets a task's constants in a module, or returns its factors by input name.
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
    """Return the module to export: a restructured, quantised base with slots, made in place.

    Args:
        base: the base model.
        settings: export settings, resolved.
        shapes: dotted module name -> ``(out, in)`` of the adapters.

    Raises:
        LoweringError: the base does not support the settings or the slots.
    """
    module = float_module(base, settings, shapes)
    quantize(base.model, settings)
    return module


def float_module(
    base: BaseModel, settings: ExportSettings, shapes: Mapping[str, tuple[int, int]]
) -> nn.Module:
    """As :func:`slotted`, before quantisation."""
    make = base.kind.restructure(base.model, settings)
    product = find_backend(settings.backend).product
    return make(insert_slots(base.model, shapes, product))


def quantize(
    model: PreTrainedModel,
    settings: ExportSettings,
    rows: Mapping[str, IntegerRows] | None = None,
) -> None:
    """Quantise a restructured base in place; ``rows`` become layers of its slots."""
    report_stage("Quantising the base model")
    backend = find_backend(settings.backend)
    backend.quantize(model, settings.scheme)
    if settings.embedding is not None:
        quantize_embedding(model, settings.embedding)
    set_rows(model, rows or {}, backend)
