"""Plans: every decision about an export, made before anything is lowered."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..errors import LoweringError, UsageError
from ..factors import Places
from ..formats.swaps import DATA, INPUTS, TASK_METHODS
from ..packing import CodedAdapters, code_verbatim, shared_rows
from ..rounding import IntegerWeight
from ..stored import MergedAdapters, Rounding
from .backends import find_backend
from .backends.backend import Backend
from .base_model import BaseModel, load_base
from .base_size import check_base_size
from .calibration_texts import Calibration
from .factors import factor_shapes
from .kept_rounding import check_kept
from .kinds.kind import ChatArguments
from .layers import layer_places
from .settings import ExportSettings
from .static import StaticAdapter

SWAPS = (INPUTS, TASK_METHODS, DATA)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What all plans have.

    Attributes:
        base: the base model; lowering changes it in place.
        settings: export settings, resolved.
        adapters: the adapters to export.
        classes: task -> number of classes of its head; empty without heads.
        check: whether to compare the model with transformers before quantisation.
        calibration: what the base's weights are rounded for; None: what is best without prompts.
        layers: module of an adapter -> its name in the base, if it differs; None if the program
            never runs the layer.
    """

    base: BaseModel
    settings: ExportSettings
    adapters: CodedAdapters | StaticAdapter
    classes: Mapping[str, int]
    check: bool = True
    calibration: Calibration | None = None
    layers: Places = field(default_factory=dict)

    @property
    def rounding(self) -> Rounding | None:
        """The rounded base for which packs were calibrated, if they were."""
        return self.adapters.rounding if isinstance(self.adapters, CodedAdapters) else None

    @property
    def backend(self) -> Backend:
        """The backend of the matrix products."""
        return find_backend(self.settings.backend)


@dataclass(frozen=True, kw_only=True)
class StaticPlan(_Plan):
    """One adapter for all tasks is merged into the base's weights; nothing is swapped."""

    adapters: StaticAdapter


@dataclass(frozen=True, kw_only=True)
class SwapPlan(_Plan):
    """Several tasks, of which the program runs one at a time.

    Attributes:
        swap: how factors reach the program, as in the manifest.
        methods: task -> name of its method; empty for other swaps.
        factors: name -> shape of the factor inputs of ``forward``, in order.
        rows: module -> shared rows that become layers of the program; None if all rows are inputs.
        single_pack: whether one file holds all packs.
    """

    adapters: CodedAdapters
    swap: str
    methods: Mapping[str, str]
    factors: Mapping[str, tuple[int, ...]]
    rows: Mapping[str, IntegerWeight] | None
    single_pack: bool = False

    @property
    def static_rows(self) -> bool:
        """Whether shared rows are layers of the program."""
        return self.rows is not None

    @property
    def constant_bytes(self) -> int:
        """Bytes of factors that are constants of the program."""
        modules = self.adapters.layout.modules.values()
        values = sum(len(x.directions) * sum(x.shape) for x in modules)
        rows = sum(x.nbytes for x in (self.rows or {}).values())
        return rows + 4 * values * len(self.methods)


Plan = StaticPlan | SwapPlan


def make_plan(
    adapters: MergedAdapters | CodedAdapters | StaticAdapter,
    base: str,
    settings: ExportSettings | None = None,
    swap: str | None = None,
    *,
    single_pack: bool = False,
    check: bool = True,
    calibration: Calibration | None = None,
    chat_arguments: ChatArguments | None = None,
) -> Plan:
    """Load the base and plan the export.

    Args:
        adapters: adapters of several tasks, or one for all.
        base: directory or hub id of the base model.
        settings: export settings; defaults if None.
        swap: as in the manifest; None for ``inputs``, or ``static`` with one adapter for all tasks.
        single_pack: write all packs to one file.
        check: compare the model with transformers before quantisation.
        calibration: as in :func:`.bundle.export_bundle`.
        chat_arguments: as in :func:`.bundle.export_bundle`.

    Raises:
        UsageError: ``swap`` is unknown or does not fit the adapters, ``single_pack`` is set
            without packs, a size of the base does not go with the other settings, or packs were
            calibrated for another rounding of the base.
        LoweringError: the base does not fit the adapters or does not support the settings.
    """
    if settings is not None and settings.base_size is not None:
        check_base_size(settings, calibration)
    if single_pack and (isinstance(adapters, StaticAdapter) or swap not in (None, INPUTS)):
        raise UsageError(
            "a single file of packs requires swap 'inputs': the other swaps have no packs",
            options=["packs", "swap"],
        )
    if isinstance(adapters, StaticAdapter):
        if swap is not None:
            raise UsageError(
                "one model for all tasks has nothing to swap; leave swap out",
                options=["swap"],
            )
        loaded, settings, found = _on_base(adapters, base, settings, chat_arguments)
        return StaticPlan(
            base=loaded,
            settings=settings,
            adapters=adapters.placed(found),
            classes=adapters.classes,
            check=check,
            calibration=calibration,
        )
    if swap not in (None, *SWAPS):
        raise UsageError(
            f"unknown swap {swap!r}, expected one of {', '.join(SWAPS)}", options=["swap"]
        )
    coded = code_verbatim(adapters)
    loaded, settings, found = _on_base(coded, base, settings, chat_arguments)
    if coded.rounding is not None:
        check_kept(coded.rounding, settings, calibration)
    plan = _swapping(loaded, settings, coded.placed(found), swap or INPUTS, coded.classes)
    others = {module: name for module, name in found.items() if module != name}
    return replace(
        plan, single_pack=single_pack, check=check, calibration=calibration, layers=others
    )


def _on_base(
    adapters: CodedAdapters | StaticAdapter,
    base: str,
    settings: ExportSettings | None,
    chat_arguments: ChatArguments | None,
) -> tuple[BaseModel, ExportSettings, Places]:
    """Load the base, resolve the settings, and find the adapters' layers in the base."""
    loaded = load_base(
        base,
        adapters.base_model,
        adapters.task_type,
        heads=bool(adapters.classes),
        chat_arguments=chat_arguments,
    )
    resolved = loaded.kind.resolve(settings or ExportSettings(), loaded.model)
    found = layer_places(loaded, resolved, adapters.shapes, adapters.base_weights)
    return loaded, resolved, found


def _swapping(
    base: BaseModel,
    settings: ExportSettings,
    adapters: CodedAdapters,
    swap: str,
    classes: Mapping[str, int],
) -> SwapPlan:
    if swap == DATA and not base.kind.generates:
        raise LoweringError(
            f"the base model is of kind {base.kind.name}, expected a causal LM for files of "
            "factors; export with factors as inputs or a method for each task",
            options=["swap=inputs", "swap=methods"],
        )
    methods = {task: f"task_{number}" for number, task in enumerate(adapters.tasks)}
    rows = _layer_rows(adapters, settings) if swap == INPUTS else None
    factors = factor_shapes(adapters.layout, static_rows=rows is not None)
    return SwapPlan(
        base=base,
        settings=settings,
        adapters=adapters,
        classes=classes,
        swap=swap,
        methods=methods if swap == TASK_METHODS else {},
        factors=factors if swap == INPUTS else {},
        rows=rows,
    )


def _layer_rows(
    coded: CodedAdapters, settings: ExportSettings
) -> Mapping[str, IntegerWeight] | None:
    """Return the shared rows that become layers of a quantised base.

    If tasks share whole factors, columns included, rows are unpacked like the rest.
    """
    if not settings.scheme.quantizes or coded.layout.shares_columns:
        return None
    return shared_rows(coded.layout, coded.shared)
