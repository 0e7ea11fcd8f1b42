"""What an export is going to make, decided before anything is lowered."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from ..errors import LoweringError, UsageError
from ..factors import Places
from ..formats.manifest import FORWARD
from ..formats.swaps import DATA, INPUTS, METHODS, STATIC
from ..packing import CodedAdapters, Groups, code_verbatim, shared_rows
from ..stored import MergedAdapters
from .backends import find_backend
from .backends.backend import Backend
from .base_model import BaseModel, load_base
from .factors import factor_shapes, module_shapes
from .kinds.kind import ChatArguments
from .layers import layer_places
from .settings import ExportSettings
from .static import StaticAdapter

SWAPS = (INPUTS, METHODS, DATA)


@dataclass(frozen=True)
class Plan:
    """One export.

    Attributes:
        base: the base model; lowering changes it in place.
        settings: of the export, resolved.
        adapters: codes of several tasks, or what goes into the base's weights for good.
        swap: how the program takes a task's factors, as in the manifest.
        methods: task -> name of its method; empty where tasks have packs or files.
        shapes: dotted name -> ``(out, in)`` of the modules that become slots.
        factors: name -> shape of the factors that are inputs of ``forward``, in order.
        rows: module -> rows that all tasks share and that become layers of the program; None if
            rows are inputs like the rest.
        classes: task -> number of classes of its head; empty if the tasks have none.
        single_pack: whether one file holds the packs of all tasks.
        check: whether the model is compared with transformers before it is quantised.
        layers: module of an adapter -> its name in the base, where that is another one; None if
            the program never runs the layer.
    """

    base: BaseModel
    settings: ExportSettings
    adapters: CodedAdapters | StaticAdapter
    swap: str
    methods: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    factors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    rows: Mapping[str, Groups | torch.Tensor] | None = None
    classes: Mapping[str, int] = field(default_factory=dict)
    single_pack: bool = False
    check: bool = True
    layers: Places = field(default_factory=dict)

    @property
    def coded(self) -> CodedAdapters:
        """The codes of a plan that swaps."""
        if not isinstance(self.adapters, CodedAdapters):
            raise TypeError(f"a plan of swap {self.swap} has no codes")
        return self.adapters

    @property
    def static_adapter(self) -> StaticAdapter:
        """The adapter of a plan that swaps nothing."""
        if not isinstance(self.adapters, StaticAdapter):
            raise TypeError(f"a plan of swap {self.swap} has several adapters")
        return self.adapters

    @property
    def backend(self) -> Backend:
        """What runs the program's matrix products."""
        return find_backend(self.settings.backend)

    @property
    def static_rows(self) -> bool:
        """Whether shared rows are layers of the program."""
        return self.rows is not None


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
        raise UsageError("--packs single goes with --swap inputs only: nothing else has packs")
    if isinstance(adapters, StaticAdapter):
        if swap is not None:
            raise UsageError("--swap does not go with one model for all tasks: nothing is swapped")
        loaded, settings = _load(adapters, base, settings, adapters.classes, chat_arguments)
        methods, classes = dict.fromkeys(adapters.tasks, FORWARD), adapters.classes
        found = layer_places(loaded, settings, adapters.shapes, adapters.base_weights)
        adapters = adapters.placed(found)
        return Plan(loaded, settings, adapters, STATIC, methods, classes=classes, check=check)
    if swap not in (None, *SWAPS):
        raise UsageError(f"unknown swap {swap!r}, expected one of {', '.join(SWAPS)}")
    coded = adapters if isinstance(adapters, CodedAdapters) else code_verbatim(adapters)
    classes = coded.classes
    loaded, settings = _load(coded, base, settings, classes, chat_arguments)
    found = layer_places(loaded, settings, module_shapes(coded.layout), coded.base_weights)
    plan = _swapping(loaded, settings, coded.placed(found), swap or INPUTS, classes)
    others = {module: name for module, name in found.items() if module != name}
    return replace(plan, single_pack=single_pack, check=check, layers=others)


def _load(
    adapters: CodedAdapters | StaticAdapter,
    base: str,
    settings: ExportSettings | None,
    classes: Mapping[str, int],
    chat_arguments: ChatArguments | None,
) -> tuple[BaseModel, ExportSettings]:
    loaded = load_base(
        base,
        adapters.base_model,
        adapters.task_type,
        heads=bool(classes),
        chat_arguments=chat_arguments,
    )
    return loaded, loaded.kind.resolve(settings or ExportSettings(), loaded.model)


def _swapping(
    base: BaseModel,
    settings: ExportSettings,
    adapters: CodedAdapters,
    swap: str,
    classes: Mapping[str, int],
) -> Plan:
    if swap == DATA and not base.kind.generates:
        raise LoweringError(
            f"the base model is of kind {base.kind.name}, expected a causal LM for files of "
            "factors; export with --swap inputs or methods"
        )
    methods = {task: f"task_{number}" for number, task in enumerate(adapters.tasks)}
    rows = _layer_rows(adapters, settings) if swap == INPUTS else None
    factors = factor_shapes(adapters.layout, static_rows=rows is not None)
    return Plan(
        base,
        settings,
        adapters,
        swap,
        methods if swap == METHODS else {},
        module_shapes(adapters.layout),
        factors if swap == INPUTS else {},
        rows,
        classes,
    )


def _layer_rows(
    coded: CodedAdapters, settings: ExportSettings
) -> Mapping[str, Groups | torch.Tensor] | None:
    """The rows that become layers of a quantised base.

    What tasks share as a whole is no layer of rows: it is decoded like the rest.
    """
    if not settings.scheme.quantizes or coded.layout.shares_columns:
        return None
    return shared_rows(coded.layout, coded.shared)
