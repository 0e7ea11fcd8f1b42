"""ExecuTorch: faster lowering, .ptd files and .pte headers, and the wheel's libraries."""

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from .names import TESTED, GoneError, Name

# Speed-ups

SORT = Name(
    "executorch.exir.lowered_backend_module:legalize_graph",
    "sorts a graph for every partition and regenerates its Python code each time",
)
PASS_MANAGER = Name(
    "executorch.backends.xnnpack.xnnpack_preprocess:XNNPACKPassManager",
    "runs every pass on every partition, and each pass traces it again",
)
PASSES = {  # pass -> operators that it rewrites; others rewrite convolutions
    Name(f"executorch.backends.xnnpack._passes:{x}", "rewrites a partition"): rewrites
    for x, rewrites in {
        "XNNPACKRemoveCloneOpsTransform": "clone",
        "DimOrderOpsRevertPass": "dim_order",
        "ConvertToLinearPass": "mm",
        "ConstPropPass": "",  # always
        "FuseActivationPass": "relu|hardtanh",
        "RemoveGetItemPass": "max",
        "RemoveRedundantCopyPass": "to_copy",
    }.items()
}
DECOMPOSITIONS = Name(
    "executorch.exir.tracer:_default_decomposition_table",
    "lists what ExecuTorch decomposes in three traces, where one is enough",
)

# Needed for correct programs

CUSTOM_OPERATORS = Name(
    "executorch.extension.llm.custom_ops.custom_ops",
    "registers the operators llama::update_cache and llama::custom_sdpa",
)
QUANTIZED_OPERATORS = Name(
    "executorch.kernels.quantized", "registers the operators quantized_decomposed::embedding_*"
)
EXTERNAL_DATA = Name(
    "executorch.exir:ExecutorchProgramManager._tensor_data",
    "holds the data of a program with external constants",
)
DATA_BYTES = Name("executorch.exir._serialize._cord:Cord", "holds the bytes of a .ptd file")
DATA_ENTRY = Name(
    "executorch.exir._serialize.data_serializer:DataEntry", "is a tensor in a .ptd file"
)
DATA_PAYLOAD = Name(
    "executorch.exir._serialize.data_serializer:DataPayload", "is the content of a .ptd file"
)
DATA_SERIALIZER = Name(
    "executorch.extension.flat_tensor.serialize.serialize:FlatTensorSerializer",
    "writes and reads .ptd files",
)


def sorted_without_code() -> AbstractContextManager[None]:
    """Skip generating Python code when a graph is sorted for a partition."""
    from torch.fx import GraphModule

    from .torch import in_this_thread, replaced

    recompile = GraphModule.recompile

    def without_code(sort: Callable) -> Callable:
        def sorted_graph(graph_module: GraphModule) -> GraphModule:
            quiet = in_this_thread(lambda _: None, recompile)
            with patch.object(GraphModule, "recompile", quiet):
                return sort(graph_module)

        return sorted_graph

    return replaced(SORT, without_code)


def few_passes(begins: Callable[[], None]) -> AbstractContextManager[None]:
    """Run only the passes that may change a partition, in this thread.

    A pass is skipped if the partition has none of the operators that it rewrites. A partition with
    convolutions gets all passes.

    Args:
        begins: called before each partition.
    """
    from .torch import replaced

    passes = {name.get(): rewrites for name, rewrites in PASSES.items()}

    def with_few(manager: Callable) -> Callable:
        def make(program: Any, *_: object, **__: object) -> Any:
            begins()
            return manager(program, _passes_for(program, passes))

        return make

    return replaced(PASS_MANAGER, with_few)


def _passes_for(program: Any, passes: Mapping[type, str]) -> list | None:
    """Return the passes that may change a partition; None, meaning all, with convolutions."""
    operators = " ".join({str(node.target) for node in program.graph.nodes})
    if "convolution" in operators:
        return None
    return [found for found, rewritten in passes.items() if re.search(rewritten, operators)]


def decomposed(exported: Any, partitioner: Any) -> Any:
    """Decompose a program, except the operators that a backend takes whole.

    Raises:
        GoneError: ExecuTorch's table of decompositions is gone.
    """
    table = DECOMPOSITIONS.get()()
    for operator in partitioner.ops_to_not_decompose(exported)[0]:
        table.pop(operator, None)
    return exported.run_decompositions(table)


def register_operators() -> None:
    """Register ExecuTorch's operators for language models and quantised embeddings."""
    CUSTOM_OPERATORS.get()
    QUANTIZED_OPERATORS.get()


def data_entries(manager: Any) -> list[tuple[str, Any]]:
    """Return the key and entry of every external tensor of a program, in order.

    Args:
        manager: ``ExecutorchProgramManager`` with one data file.
    """
    if not hasattr(manager, "_tensor_data"):
        raise EXTERNAL_DATA.gone()
    (data,) = manager._tensor_data.values()
    content = DATA_BYTES.get()(bytes(data))
    named = DATA_SERIALIZER.get()().deserialize(content).named_data
    return sorted(named.items(), key=lambda item: int(item[0].rpartition("_")[2]))


def data_file(buffers: Sequence[bytes], entries: Sequence[tuple[str, Any]]) -> bytes:
    """Write the content of a .ptd file.

    Args:
        buffers: float32 bytes of the tensors, in the order of ``entries``.
        entries: from :func:`data_entries`.
    """
    entry = DATA_ENTRY.get()
    named = {
        key: entry(index, found.alignment, found.tensor_layout)
        for index, (key, found) in enumerate(entries)
    }
    payload = DATA_PAYLOAD.get()(list(buffers), named)
    return bytes(DATA_SERIALIZER.get()().serialize(payload))


# File headers: ExecuTorch's bindings abort the process on an identifier that is not UTF-8

PROGRAM_ID, DATA_ID = b"ET12", b"FT01"  # bytes 4 to 8 of a .pte and a .ptd file
# next in a .pte file: magic, length of this header, size of the program, and offset (0: none) and
# size of its data
EXTENDED, MAGIC = struct.Struct("<4sIQQQ"), b"eh00"
HEAD = 8 + EXTENDED.size


def identifier(head: bytes) -> bytes:
    """Return the identifier in the first :data:`HEAD` bytes of a file."""
    return head[4:8]


def bytes_of(head: bytes, size: int) -> int | None:
    """Return the size that a .pte file should have; None if its size is consistent.

    Args:
        head: the file's first :data:`HEAD` bytes.
        size: the file's size in bytes.
    """
    magic, _, program, start, length = EXTENDED.unpack_from(head, 8)
    fits = magic != MAGIC or not start or program <= start <= start + length == size
    return None if fits else start + length


def data_start(head: bytes) -> int | None:
    """Return the offset of a program's data, 0 without data; None without an extended header.

    Args:
        head: the file's first :data:`HEAD` bytes.
    """
    if len(head) < HEAD:
        return None
    magic, _, _, start, _ = EXTENDED.unpack_from(head, 8)
    return start if magic == MAGIC else None


# The wheel

KERNELS = (
    "extension/llm/custom_ops/libcustom_ops_aot_lib.*",
    "kernels/quantized/libquantized_ops_aot_lib.*",
)
LIBRARIES = (
    "executorch",
    "executorch_threadpool",
    "executorch_kernels_optimized",
    "executorch_kernels_quantized",
    "executorch_backend_xnnpack",
    "executorch_etdump",
)
INCLUDED = ("include", "include/executorch/runtime/core/portable_type/c10")
MEMBERS = (
    "executorch/lib/lib",
    "executorch/include/",
)  # what a runner is built with


def package() -> Path:
    """Return ExecuTorch's directory without loading its libraries."""
    import executorch

    return Path(executorch.__path__[0])


def kernel_libraries() -> list[Path]:
    """Return the shared libraries of kernels for language models.

    Raises:
        GoneError: the wheel lacks one of them.
    """
    found = [next(package().glob(pattern), None) for pattern in KERNELS]
    for pattern, path in zip(KERNELS, found, strict=True):
        if path is None:
            raise GoneError(
                f"this executorch has no {pattern}, whose operators programs of language models "
                f"use; install executorch {TESTED['executorch']}, with which hydraopt was tested"
            )
    return [path for path in found if path]


# Events of an ETDump

NATIVE, DELEGATE = "native_call_", "DELEGATE_CALL"  # start of an operator's name; of a delegate


def event_operator(event: str) -> str:
    """``native_call_add.out`` -> ``add``; ``Add (ND) #2``, of XNNPACK, -> ``Add (ND)``."""
    if event.startswith(NATIVE):
        return event.removeprefix(NATIVE).partition(".")[0].strip("_")
    return re.sub(r" #\d+$", "", event)
