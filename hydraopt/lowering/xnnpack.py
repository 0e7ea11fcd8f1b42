"""All that is particular to XNNPACK: quantised layers, the form of a slot, what is delegated.

Another backend is another module with these functions.
"""

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
from torch import nn
from torchao.quantization import (
    Int8DynamicActivationIntxWeightConfig,
    IntxUnpackedToInt8Tensor,
    quantize_,
)
from torchao.quantization.granularity import PerAxis, PerGroup
from torchao.quantization.quantize_.workflows.intx.intx_unpacked_to_int8_tensor import (
    IntxUnpackedToInt8TensorActivationQuantization,
)
from torchao.utils import unwrap_tensor_subclass

from ..errors import LoweringError
from ..formats.codes import GROUP
from ..packing import Groups
from ..progress import doing
from .metadata import Metadatum

QUANTIZE = ("none", "8da4w")
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


def quantize_linear(model: nn.Module, scheme: str) -> None:
    """Quantise all linear layers in place; factors are no linear layers and stay float32.

    ``8da4w`` is ExecuTorch's name for int4 weights in groups of 32 with int8 dynamic activations.

    Raises:
        LoweringError: unknown scheme, or a layer whose input is no multiple of the group.
    """
    if scheme not in QUANTIZE:
        raise LoweringError(f"unknown quantisation {scheme!r}, expected {' or '.join(QUANTIZE)}")
    if scheme == "none":
        return
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module.in_features % GROUP:
            raise LoweringError(
                f"{name} has {module.in_features} inputs, expected a multiple of {GROUP} for "
                "8da4w; export with --quantize none"
            )
    _quantize(model, torch.int4, PerGroup(GROUP))


def row_layer(rows: Groups | torch.Tensor) -> nn.Linear:
    """A quantised layer of shared rows: ``x [1, S, in] -> [1, S, n]``.

    Args:
        rows: int4 groups of ``[n, in]``, which it holds as they are; or float32 ``[n, in]``, which
            become int8 with a scale per row.
    """
    values = rows.values if isinstance(rows, Groups) else rows
    with torch.device("meta"):
        layer = nn.Linear(values.shape[1], values.shape[0], bias=False)
    if not isinstance(rows, Groups):
        layer.weight = nn.Parameter(rows.clone(), requires_grad=False)
        _quantize(layer, torch.int8, PerAxis(0))
        return layer
    scales = rows.scales.float()
    weight = IntxUnpackedToInt8Tensor(
        values,
        scales,
        torch.zeros_like(scales, dtype=torch.int8),
        torch.int4,
        (1, GROUP),
        torch.float32,
        IntxUnpackedToInt8TensorActivationQuantization.INT8_ASYM_PER_TOKEN,
    )
    layer.weight = nn.Parameter(weight, requires_grad=False)
    unwrap_tensor_subclass(layer)
    return layer


def _quantize(model: nn.Module, dtype: torch.dtype, granularity: PerGroup | PerAxis) -> None:
    config = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=dtype, weight_granularity=granularity
    )
    quantize_(model, config)
    unwrap_tensor_subclass(model)


def times(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """``x [1, S, n]`` times an input ``[1, n, m]`` of the program.

    The one form with a non-constant operand that XNNPACK takes. It packs ``factor`` in every call.
    """
    return torch.bmm(x, factor)


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
