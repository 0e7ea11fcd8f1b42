"""What of a program is handed to XNNPACK."""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from unittest.mock import patch

import torch
from executorch.backends.xnnpack import _passes as passes
from executorch.backends.xnnpack import xnnpack_preprocess
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, EdgeProgramManager, to_edge_transform_and_lower
from executorch.exir.tracer import _default_decomposition_table

from ....progress import doing
from ...metadata import Metadatum

MATMUL = re.compile(r"\b(mm|bmm|addmm|linear|matmul)\b")
# Each pass traces a partition again, which is most of the time that lowering takes; one that has
# none of the operators that the pass rewrites is left alone. The others of XNNPACK's passes rewrite
# convolutions, batch norms, attention, paddings and the like.
PASSES = {
    passes.XNNPACKRemoveCloneOpsTransform: "clone",
    passes.DimOrderOpsRevertPass: "dim_order",
    passes.ConvertToLinearPass: "mm",
    passes.ConstPropPass: "",  # always
    passes.FuseActivationPass: "relu|hardtanh",
    passes.RemoveGetItemPass: "max",
    passes.RemoveRedundantCopyPass: "to_copy",
}


def delegate(
    methods: Mapping[str, torch.export.ExportedProgram],
    delegated: Collection[str],
    metadata: Mapping[str, Metadatum],
) -> EdgeProgramManager:
    """Hand to XNNPACK all that it takes of ``delegated`` methods; the others stay as they are.

    ``metadata`` become methods that return constants.
    """
    with _few_passes():
        return to_edge_transform_and_lower(
            {name: _decomposed(exported) for name, exported in methods.items()},
            constant_methods=dict(metadata),
            partitioner={name: [XnnpackPartitioner()] for name in delegated},
            compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
        )


def _decomposed(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """In core operators and those that XNNPACK takes whole, before ExecuTorch takes three steps."""
    table = _default_decomposition_table()
    for operator in XnnpackPartitioner().ops_to_not_decompose(exported)[0]:
        table.pop(operator, None)
    return exported.run_decompositions(table)


def undelegated(exported: torch.export.ExportedProgram, layers: Collection[str]) -> list[str]:
    """Those of ``layers`` with a matrix product that stayed outside XNNPACK.

    Args:
        exported: a lowered method of a :class:`~.decoder.Decoder`.
        layers: dotted names in the base model.
    """
    outside = {
        path
        for node in exported.graph_module.graph.nodes
        if node.op == "call_function" and MATMUL.search(str(node.target))
        for path, _ in node.meta.get("nn_module_stack", {}).values()
    }
    return sorted(name for name in layers if any(path.endswith(f".{name}") for path in outside))


def _passes_for(program: torch.export.ExportedProgram) -> list | None:
    """Those of :data:`PASSES` that may change a partition; None, which is all, if it convolves."""
    operators = " ".join({str(node.target) for node in program.graph.nodes})
    if "convolution" in operators:
        return None
    return [found for found, rewritten in PASSES.items() if re.search(rewritten, operators)]


@contextmanager
def _few_passes() -> Iterator[None]:
    """Run on each partition only the passes that may change it."""
    partitions = count(1)

    class FewPasses(passes.XNNPACKPassManager):
        def __init__(self, program: torch.export.ExportedProgram, **_: object):
            doing(f"Lowering part {next(partitions)} of the graph")
            super().__init__(program, _passes_for(program))

    with patch.object(xnnpack_preprocess, "XNNPACKPassManager", FewPasses):
        yield
