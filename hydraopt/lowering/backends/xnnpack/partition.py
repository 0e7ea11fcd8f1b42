"""Delegate a program to XNNPACK and find what it left out."""

import re
from collections.abc import Collection, Mapping
from functools import partial
from itertools import count

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, EdgeProgramManager, to_edge_transform_and_lower

from ....private import GoneError, slower, speedups
from ....private.executorch import decomposed, few_passes
from ....progress import report_stage
from ...metadata import Metadatum

MATMUL = re.compile(r"\b(mm|bmm|addmm|linear|matmul)\b")


def delegate(
    methods: Mapping[str, torch.export.ExportedProgram],
    delegated: Collection[str],
    metadata: Mapping[str, Metadatum],
) -> EdgeProgramManager:
    """Delegate what XNNPACK takes of the ``delegated`` methods; see :meth:`.Backend.delegate`."""
    partitions = count(1)

    def begins() -> None:
        report_stage(f"Lowering part {next(partitions)} of the graph")

    with speedups([partial(few_passes, begins)]):
        return to_edge_transform_and_lower(
            {name: _decomposed(exported) for name, exported in methods.items()},
            constant_methods=dict(metadata),
            partitioner={name: [XnnpackPartitioner()] for name in delegated},
            compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
        )


def _decomposed(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Decompose in one trace; if ExecuTorch's table is gone, leave it to its three traces."""
    try:
        return decomposed(exported, XnnpackPartitioner())
    except GoneError as error:
        slower(error)
        return exported


def undelegated(exported: torch.export.ExportedProgram, layers: Collection[str]) -> list[str]:
    """Return the ``layers`` with a matrix product outside XNNPACK.

    Args:
        exported: a lowered method.
        layers: dotted names in the base model.
    """
    outside = {
        path
        for node in exported.graph_module.graph.nodes
        if node.op == "call_function" and MATMUL.search(str(node.target))
        for path, _ in node.meta.get("nn_module_stack", {}).values()
    }
    return sorted(name for name in layers if any(path.endswith(f".{name}") for path in outside))
