"""Export PyTorch modules and lower them to one ExecuTorch program."""

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
    """Counts of one operator inside and outside the backend's partitions."""

    operator: str
    delegated: int
    not_delegated: int


@dataclass(frozen=True)
class Program:
    """A lowered program: content of the .pte file, and each method's delegation table."""

    buffer: bytes
    delegation: Mapping[str, Sequence[OperatorCount]]


def export_forward(
    decoder: Decoder, shapes: Mapping[str, Sequence[int]], prefill_length: int
) -> torch.export.ExportedProgram:
    """``torch.export`` of ``decoder`` with dynamic sequence length 1..prefill_length.

    Args:
        decoder: the model.
        shapes: shapes of the factor inputs by name.
        prefill_length: maximum number of tokens per call, at least 4; memory is planned for it.

    Raises:
        LoweringError: the model cannot be traced.
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
        arguments: example values of the other arguments.
        dynamic: dynamic sizes by argument name.
        shapes: shapes of the factor inputs by name.

    Raises:
        LoweringError: the model cannot be traced.
    """
    factors = {name: torch.zeros(*shape) for name, shape in shapes.items()}
    sizes = {**dynamic, "factors": dict.fromkeys(factors)}
    report_stage("Tracing the model")
    # thread_log: torch prints whole graphs with some exceptions
    with (
        torch.no_grad(),
        tracing(),
        thread_log(),
        refusing(MODEL),
    ):
        # a non-strict export succeeds, but lowering it to XNNPACK fails
        return torch.export.export(module, (*arguments, factors), dynamic_shapes=sizes, strict=True)


def export_unpack(layout: Layout, *, static_rows: bool) -> torch.export.ExportedProgram:
    """``torch.export`` of :class:`Unpack` for packs of ``layout``."""
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
    """Lower exported methods to one program; equal weights are stored once.

    Args:
        methods: exported methods by name.
        backend: backend of the matrix products.
        slots: layers of the base model whose matrix products must be delegated.
        metadata: constants that the program returns, see :mod:`.metadata`.

    Raises:
        LoweringError: ExecuTorch lacks an operator, or the backend did not take the matrix product
            of a slot.
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
    """As :func:`to_backend`, with each method's delegation table; errors as :func:`lower`."""
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
    """Delegate exported methods, except ``unpack``, to the backend.

    ``unpack`` uses ExecuTorch's portable operators: XNNPACK has no look-ups, and delegating the few
    products between them makes it no faster and takes three times as long to lower.
    """
    report_stage("Converting the graph")
    with tracing():
        return backend.delegate(methods, [name for name in methods if name != UNPACK], metadata)


def to_executorch(
    edge: EdgeProgramManager,
    external_constants: bool | Callable[[torch.fx.Node], str | None] = False,
) -> ExecutorchProgramManager:
    """Finish a program; ``external_constants`` as in ``ExecutorchBackendConfig``."""
    report_stage("Writing the program")
    with tracing():
        return edge.to_executorch(
            ExecutorchBackendConfig(
                # use the caller's factor tensors in place
                memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
                do_quant_fusion_and_const_prop=True,
                run_reinplace_pass=True,  # write a portable KV cache in place
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
