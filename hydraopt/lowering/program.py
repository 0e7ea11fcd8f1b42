"""From PyTorch modules to one ExecuTorch program."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from executorch.devtools.backend_debug import get_delegation_info
from executorch.exir import (
    EdgeProgramManager,
    ExecutorchBackendConfig,
    ExecutorchProgramManager,
)
from executorch.exir.passes import MemoryPlanningPass
from torch import nn

from ..errors import LoweringError
from ..formats.layout import Layout, payload_bytes
from ..formats.manifest import UNPACK
from ..native_log import thread_log
from ..packing import Unpack
from ..progress import report_stage
from .backends.backend import Backend
from .decoder import Decoder
from .metadata import NO_METADATA, Metadatum
from .refusing import refusing
from .tracing import tracing

MODEL = "ExecuTorch's exporter does not take this base model"
OPERATORS = "ExecuTorch's exporter does not take the operators of this base model"


@dataclass(frozen=True)
class OperatorCount:
    """How often one operator was delegated to the backend and how often it was not."""

    operator: str
    delegated: int
    not_delegated: int


@dataclass(frozen=True)
class Program:
    """A lowered program: the .pte file's content and the delegation table of each method."""

    buffer: bytes
    delegation: Mapping[str, Sequence[OperatorCount]]


def export_forward(
    decoder: Decoder, shapes: Mapping[str, Sequence[int]], prefill_length: int
) -> torch.export.ExportedProgram:
    """``torch.export`` of ``decoder`` with dynamic sequence length 1..prefill_length.

    Args:
        decoder: the model.
        shapes: of the factor inputs, by name.
        prefill_length: most tokens of one call, at least 4; memory is planned for so many.

    Raises:
        LoweringError: a model that cannot be traced.
    """
    length = torch.export.Dim("sequence", min=1, max=prefill_length)
    arguments = (torch.zeros(1, 4, dtype=torch.int64), torch.arange(4))
    dynamic = {"input_ids": {1: length}, "cache_position": {0: length}}
    return export_module(decoder, arguments, dynamic, shapes)


def export_module(
    module: nn.Module,
    arguments: Sequence[torch.Tensor],
    dynamic: Mapping[str, dict[int, torch.export.Dim] | None],
    shapes: Mapping[str, Sequence[int]],
) -> torch.export.ExportedProgram:
    """``torch.export`` of a module whose last argument is the dict ``factors``.

    Args:
        module: the model.
        arguments: examples of the other arguments.
        dynamic: their dynamic sizes, by the arguments' names.
        shapes: of the factor inputs, by name.

    Raises:
        LoweringError: a model that cannot be traced.
    """
    factors = {name: torch.zeros(*shape) for name, shape in shapes.items()}
    sizes = {**dynamic, "factors": dict.fromkeys(factors)}
    report_stage("Tracing the model")
    # torch prints whole graphs beside some of its exceptions
    with (
        torch.no_grad(),
        tracing(),
        thread_log(),
        refusing(MODEL),
    ):
        # strict: without it the export succeeds, but lowering to XNNPACK fails
        return torch.export.export(module, (*arguments, factors), dynamic_shapes=sizes, strict=True)


def export_unpack(layout: Layout, *, static_rows: bool) -> torch.export.ExportedProgram:
    """``torch.export`` of unpacking packs of ``layout``; see :class:`Unpack`."""
    sections = (layout.task,) if static_rows else (layout.shared, layout.task)
    payloads = tuple(torch.zeros(payload_bytes(x), dtype=torch.uint8) for x in sections)
    with torch.no_grad(), tracing():
        return torch.export.export(Unpack(layout, static_rows=static_rows), payloads, strict=True)


def lower(
    methods: Mapping[str, torch.export.ExportedProgram],
    backend: Backend,
    slots: Collection[str] = (),
    metadata: Mapping[str, Metadatum] = NO_METADATA,
) -> Program:
    """Lower exported methods into one program; equal weights are stored once.

    Args:
        methods: by name.
        backend: what runs their matrix products.
        slots: layers of the base model whose matrix products must be delegated.
        metadata: constants that the program tells, see :mod:`.metadata`.

    Raises:
        LoweringError: operators that ExecuTorch lacks, or a slot's matrix product that the backend
            did not take.
    """
    edge, delegation = checked_backend(methods, backend, slots, metadata)
    with refusing(OPERATORS):
        return Program(bytes(to_executorch(edge).buffer), delegation)


def checked_backend(
    methods: Mapping[str, torch.export.ExportedProgram],
    backend: Backend,
    slots: Collection[str],
    metadata: Mapping[str, Metadatum],
) -> tuple[EdgeProgramManager, dict[str, list[OperatorCount]]]:
    """:func:`to_backend` with the delegation table of each method; errors as :func:`lower`."""
    with refusing(OPERATORS):
        edge = to_backend(methods, backend, metadata)
    lowered = {name: edge.exported_program(name) for name in methods}
    for name, exported in lowered.items():
        missing = [] if name == UNPACK else backend.undelegated(exported, slots)
        if missing:
            raise LoweringError(
                f"{len(missing)} slots were not delegated to {backend.title} (first: "
                f"{missing[0]}), expected none; this base model cannot be lowered with slots yet"
            )
    return edge, {name: _delegation(exported) for name, exported in lowered.items()}


def to_backend(
    methods: Mapping[str, torch.export.ExportedProgram],
    backend: Backend,
    metadata: Mapping[str, Metadatum] = NO_METADATA,
) -> EdgeProgramManager:
    """Exported methods with all that the backend takes handed to it.

    ``unpack`` stays with ExecuTorch's own operators: XNNPACK has no look-ups, and handing
    over the few products between them makes it no faster and takes three times as long to lower.
    """
    report_stage("Converting the graph")
    with tracing():
        return backend.delegate(methods, [name for name in methods if name != UNPACK], metadata)


def to_executorch(
    edge: EdgeProgramManager,
    external_constants: bool | Callable[[torch.fx.Node], str | None] = False,
) -> ExecutorchProgramManager:
    """The final program; ``external_constants`` as in ``ExecutorchBackendConfig``."""
    report_stage("Writing the program")
    with tracing():
        return edge.to_executorch(
            ExecutorchBackendConfig(
                # the caller's factor tensors are used where they lie, not copied
                memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
                do_quant_fusion_and_const_prop=True,
                run_reinplace_pass=True,  # a portable KV cache is written where it lies
                external_constants=external_constants,
            )
        )


def _delegation(exported: torch.export.ExportedProgram) -> list[OperatorCount]:
    table = get_delegation_info(exported.graph_module).get_operator_delegation_dataframe()
    return [
        OperatorCount(
            row.op_type.removeprefix("aten_").removesuffix("_default"),
            int(row.occurrences_in_delegated_graphs),
            int(row.occurrences_in_non_delegated_graphs),
        )
        for row in table.itertuples()
        if row.op_type not in ("Total", "getitem")
    ]
