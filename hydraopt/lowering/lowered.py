"""Lower a plan to a program and its packs: one function per swap."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import UsageError, require
from ..factors import Factors
from ..formats.manifest import FORWARD, UNPACK, Calibration
from ..formats.pack import Pack
from ..formats.swaps import DATA, INPUTS, TASK_METHODS
from ..schemes import find_scheme
from .backends import find_backend
from .base_model import BaseModel
from .base_size import check_program_size, find_room, lacks_texts, with_bits
from .calibration_texts import GENERATED, NO_TEXTS, CalibrationTexts, calibration_texts
from .check import Expected, check_merged, expect, largest_deviation, quantized_outputs
from .data_files import lower_with_data
from .factors import input_factors, slot_factors
from .kept_rounding import keep_rounding
from .kinds.kind import FactorInputs
from .plan import Plan, StaticPlan, SwapPlan
from .program import Program, export_unpack, lower
from .quantization import RoundedBase, quantize, round_base
from .settings import ExportSettings
from .slots import insert_slots, set_constants, slot_layers

logger = logging.getLogger(__name__)

DATA_SUFFIX = ".ptd"

UseTask = Callable[[nn.Module, str], FactorInputs]


@dataclass(frozen=True)
class Lowered:
    """A lowered plan.

    Attributes:
        program: the program with all methods.
        settings: export settings, resolved, with bits chosen if a size was asked for.
        constant_bytes: bytes of factors that are constants of the program.
        packs: task -> place of its pack or .ptd file.
        deviation: deviation from transformers, see :func:`.check.largest_deviation`; None if it was
            not compared.
        calibration: what the base's weights were rounded for.
        quantized: outputs of the quantised module that was lowered; empty if not compared.
    """

    program: Program
    settings: ExportSettings
    constant_bytes: int = 0
    packs: Mapping[str, Pack] = field(default_factory=dict)
    deviation: float | None = None
    calibration: Calibration | None = None
    quantized: Sequence[Expected] = ()


def lower_plan(plan: Plan, directory: Path) -> Lowered:
    """Lower a plan and write its packs or .ptd files to ``directory``.

    Raises:
        LoweringError: the base does not fit the adapters or a size that was asked for, the model
            differs from transformers, or a slot was not delegated.
    """
    lowered = _static(plan) if isinstance(plan, StaticPlan) else _LOWER[plan.swap](plan, directory)
    check_program_size(lowered.settings, len(lowered.program.buffer))
    return lowered


def _with_inputs(plan: SwapPlan, directory: Path) -> Lowered:
    """Factors are inputs of ``forward``, made by ``unpack`` from a task's pack."""
    base, settings, coded = plan.base, plan.settings, plan.adapters
    module, checked = _checked(
        plan,
        lambda _, task: slot_factors(coded.task_factors(task)),
        lambda _, task: input_factors(coded, task, static_rows=plan.static_rows),
    )
    methods = {
        FORWARD: base.kind.export(module, plan.factors, settings),
        UNPACK: export_unpack(coded.layout, static_rows=plan.static_rows),
    }
    program = lower(methods, plan.backend, slot_layers(coded.modules), base.metadata(settings))
    packs = coded.write_packs(directory, single=plan.single_pack)
    return Lowered(program, constant_bytes=plan.constant_bytes, packs=packs, **checked)


def _with_methods(plan: SwapPlan, _: Path) -> Lowered:
    """One method per task, with constant factors; the set of tasks is closed."""
    base, settings, coded = plan.base, plan.settings, plan.adapters

    def constants(module: nn.Module, task: str) -> FactorInputs:
        set_constants(module, coded.task_factors(task))
        return {}

    module, checked = _checked(plan, constants)
    exported = {}
    for task, method in plan.methods.items():
        set_constants(module, coded.task_factors(task))
        exported[method] = base.kind.export(module, {}, settings)
        logger.info("exported %s as method %s", task, method)
    program = lower(exported, plan.backend, slot_layers(coded.modules), base.metadata(settings))
    return Lowered(program, constant_bytes=plan.constant_bytes, **checked)


def _with_data(plan: SwapPlan, directory: Path) -> Lowered:
    """One .ptd file of float32 factors per task, which a runner loads with the program.

    It has all rows: XNNPACK does not take external constants of a few rows beside row layers.
    """
    base, settings, coded = plan.base, plan.settings, plan.adapters
    module, checked = _checked(plan, lambda _, task: slot_factors(coded.task_factors(task)))
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
    return Lowered(lowered.program, packs=packs, **checked)


def _static(plan: StaticPlan) -> Lowered:
    """One model for all tasks: the adapter changes the base before quantisation."""
    base, settings, adapter = plan.base, plan.settings, plan.adapters
    unmerged, task = [], adapter.tasks[0]
    if plan.check and adapter.factors:
        unmerged = expect(base, settings, {task: adapter.factors})
    layers = adapter.apply(base.model)
    check_merged(base, unmerged)
    settings, rounded = _rounded(plan, lambda _: {})
    expected = expect(base, settings, {task: {}} if plan.check else {})
    module = float_module(base, settings, {})
    deviation = largest_deviation(base.kind, module, expected, lambda _: {})
    quantize(base.model, settings, rounded)
    quantized = quantized_outputs(base.kind, module, expected, lambda _: {})
    program = _lower_forward(base, settings, module, layers)
    return Lowered(
        program,
        settings,
        adapter.constant_bytes,
        deviation=deviation,
        calibration=rounded.calibration,
        quantized=quantized,
    )


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
    plan: SwapPlan, use: UseTask, use_quantized: UseTask | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the module to export, and the fields of :class:`Lowered` that tell how it was made.

    Args:
        plan: plan for several tasks.
        use: sets a task's constants in a module, or returns its factors by input name.
        use_quantized: the same for the quantised module, if it takes other factors.
    """
    base, coded = plan.base, plan.adapters
    settings, rounded = _rounded(plan, coded.task_factors, plan.constant_bytes)
    tasks = (coded.tasks[0], coded.tasks[-1]) if plan.check else ()
    expected = expect(base, settings, {task: coded.task_factors(task) for task in tasks})
    module = float_module(base, settings, coded.shapes)
    deviation = largest_deviation(base.kind, module, expected, partial(use, module))
    quantize(base.model, settings, rounded, plan.rows)
    use = use_quantized or use
    quantized = quantized_outputs(base.kind, module, expected, partial(use, module))
    facts = {"deviation": deviation, "calibration": rounded.calibration, "quantized": quantized}
    return module, {"settings": settings, **facts}


def _rounded(
    plan: Plan, factors: Callable[[str], Mapping[str, Factors]], constant_bytes: int = 0
) -> tuple[ExportSettings, RoundedBase]:
    """Round the base, and choose the bits of its layers if a size was asked for.

    Packs that were calibrated for a rounded base come with its integers.

    Args:
        plan: the plan.
        factors: as of :func:`.calibration_texts.calibration_texts`.
        constant_bytes: bytes of factors that the program will have and the base has not yet.
    """
    base, settings = plan.base, plan.settings
    if plan.rounding is not None:
        return settings, keep_rounding(base.model, settings, plan.rounding)
    if settings.base_size is None:
        return settings, round_base(base.model, settings, _texts(plan, factors))
    methods = len(plan.methods) if isinstance(plan, SwapPlan) else 1
    room = find_room(base, settings, constant_bytes, max(1, methods))
    texts = _texts(plan, factors)
    if texts is None:
        raise lacks_texts()
    settings = with_bits(base, settings, texts, room)
    return settings, round_base(base.model, settings, texts)


def _texts(plan: Plan, factors: Callable[[str], Mapping[str, Factors]]) -> CalibrationTexts | None:
    """Return the texts to calibrate with.

    Raises:
        UsageError: nothing is quantised.
        LoweringError: as :func:`.calibration_texts.calibration_texts`.
    """
    schemes = {plan.settings.quantize, *plan.settings.overrides.values()}
    quantizes = any(find_scheme(x).quantizes for x in schemes)
    calibration = plan.calibration
    if calibration is None:
        calibration = GENERATED if quantizes and plan.base.kind.generates else NO_TEXTS
    if calibration != NO_TEXTS and not quantizes:
        raise UsageError(
            "texts to calibrate with are for a quantised base, and this export quantises no layer; "
            "leave them out",
            options=["calibration", "quantize"],
        )
    return calibration_texts(plan.base, calibration, plan.adapters.tasks, factors)


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
    rounded = round_base(base.model, settings)
    module = float_module(base, settings, shapes)
    quantize(base.model, settings, rounded)
    return module


def float_module(
    base: BaseModel, settings: ExportSettings, shapes: Mapping[str, tuple[int, int]]
) -> nn.Module:
    """As :func:`slotted`, before quantisation."""
    make = base.kind.restructure(base.model, settings)
    product = find_backend(settings.backend).product
    return make(insert_slots(base.model, shapes, product))
