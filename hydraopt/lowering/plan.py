"""What an export is going to make, decided before anything is lowered."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from ..adapters import BaseWeights
from ..errors import LoweringError, UsageError
from ..factors import Places
from ..formats.swaps import DATA, INPUTS, TASK_METHODS
from ..packing import CodedAdapters, IntegerRows, code_verbatim, shared_rows
from ..stored import MergedAdapters
from .backends import find_backend
from .backends.backend import Backend
from .base_model import BaseModel, load_base
from .factors import factor_shapes
from .kinds.kind import ChatArguments
from .layers import layer_places
from .settings import ExportSettings
from .static import StaticAdapter

SWAPS = (INPUTS, TASK_METHODS, DATA)


class Adapters(Protocol):
    """What lowering asks of adapters, be they several tasks' or one for all."""

    @property
    def base_model(self) -> str:
        """Identifier of the base model."""

    @property
    def method(self) -> str:
        """How they were made."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names."""

    @property
    def adapter_bytes(self) -> int:
        """fp16 bytes of the adapters that went in."""

    @property
    def classes(self) -> Mapping[str, int]:
        """Task -> number of classes of its head; empty if the tasks have none."""

    @property
    def task_type(self) -> str | None:
        """PEFT's name of the kind of base model; None if it is not told."""

    @property
    def base_weights(self) -> BaseWeights:
        """What the base must be equal in."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """Module -> ``(out, in)``."""

    def placed(self, places: Places) -> Self:
        """The same of modules with other names, without those that have no place."""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """One export.

    Attributes:
        base: the base model; lowering changes it in place.
        settings: of the export, resolved.
        adapters: what the program is made of beside the base.
        classes: task -> number of classes of its head; empty if the tasks have none.
        check: whether the model is compared with transformers before it is quantised.
        layers: module of an adapter -> its name in the base, where that is another one; None if
            the program never runs the layer.
    """

    base: BaseModel
    settings: ExportSettings
    adapters: Adapters
    classes: Mapping[str, int]
    check: bool = True
    layers: Places = field(default_factory=dict)

    @property
    def backend(self) -> Backend:
        """What runs the program's matrix products."""
        return find_backend(self.settings.backend)


@dataclass(frozen=True, kw_only=True)
class StaticPlan(_Plan):
    """One adapter for all tasks becomes part of the base's weights: nothing is swapped."""

    adapters: StaticAdapter


@dataclass(frozen=True, kw_only=True)
class SwapPlan(_Plan):
    """The program takes the factors of one of several tasks.

    Attributes:
        swap: how it takes them, as in the manifest.
        methods: task -> name of its method; empty where tasks have packs or files.
        factors: name -> shape of the factors that are inputs of ``forward``, in order.
        rows: module -> rows that all tasks share and that become layers of the program; None if
            rows are inputs like the rest.
        single_pack: whether one file holds the packs of all tasks.
    """

    adapters: CodedAdapters
    swap: str
    methods: Mapping[str, str]
    factors: Mapping[str, tuple[int, ...]]
    rows: Mapping[str, IntegerRows] | None
    single_pack: bool = False

    @property
    def static_rows(self) -> bool:
        """Whether shared rows are layers of the program."""
        return self.rows is not None


Plan = StaticPlan | SwapPlan


def make_plan(
    adapters: MergedAdapters | CodedAdapters | StaticAdapter,
    base: str,
    settings: ExportSettings | None = None,
    swap: str | None = None,
    *,
    single_pack: bool = False,
    check: bool = True,
    chat_arguments: ChatArguments | None = None,
) -> Plan:
    """Load the base and decide everything else.

    Args:
        adapters: of several tasks, or one for all.
        base: directory or hub id of the base model they belong to.
        settings: of the export.
        swap: as in the manifest; None: ``inputs``, or ``static`` for one adapter for all tasks.
        single_pack: write the packs of all tasks into one file.
        check: compare the model with transformers before it is quantised.
        chat_arguments: as :func:`.bundle.export_bundle` takes them.

    Raises:
        UsageError: a ``swap`` that there is not, or for adapters that are not swapped; one file
            of packs where there are none.
        LoweringError: a base that does not fit the adapters, or settings that it cannot have.
    """
    if single_pack and (isinstance(adapters, StaticAdapter) or swap not in (None, INPUTS)):
        raise UsageError(
            "a single file of packs goes with factors as inputs only: nothing else has packs",
            options=["packs", "swap"],
        )
    if isinstance(adapters, StaticAdapter):
        if swap is not None:
            raise UsageError(
                "a swap does not go with one model for all tasks: nothing is swapped",
                options=["swap"],
            )
        loaded, settings, found = _on_base(adapters, base, settings, chat_arguments)
        return StaticPlan(
            base=loaded,
            settings=settings,
            adapters=adapters.placed(found),
            classes=adapters.classes,
            check=check,
        )
    if swap not in (None, *SWAPS):
        raise UsageError(
            f"unknown swap {swap!r}, expected one of {', '.join(SWAPS)}", options=["swap"]
        )
    coded = code_verbatim(adapters)
    loaded, settings, found = _on_base(coded, base, settings, chat_arguments)
    plan = _swapping(loaded, settings, coded.placed(found), swap or INPUTS, coded.classes)
    others = {module: name for module, name in found.items() if module != name}
    return replace(plan, single_pack=single_pack, check=check, layers=others)


def _on_base(
    adapters: Adapters,
    base: str,
    settings: ExportSettings | None,
    chat_arguments: ChatArguments | None,
) -> tuple[BaseModel, ExportSettings, Places]:
    """The base of some adapters, resolved settings, and where their layers are in it."""
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


def _layer_rows(coded: CodedAdapters, settings: ExportSettings) -> Mapping[str, IntegerRows] | None:
    """The rows that become layers of a quantised base.

    What tasks share as a whole is no layer of rows: it is decoded like the rest.
    """
    if not settings.scheme.quantizes or coded.layout.shares_columns:
        return None
    return shared_rows(coded.layout, coded.shared)
