"""Making the export stack fast: nearly all of its time goes into tracing the same graph again.

Nothing here changes a program. A language model of 30 layers is traced a dozen times, each time
operator by operator with fake tensors, which know shapes and have no data.
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partialmethod
from unittest.mock import patch

import torch
import torchao.quantization  # noqa: F401  defines the operators of torch.ops.torchao
from executorch.exir import lowered_backend_module
from executorch.exir.graph_module import contains_any_call_fn_target_op
from torch._dynamo.guards import CheckFunctionManager, GuardBuilder
from torch._guards import Guard
from torch._inductor.decomposition import decompositions
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.fx.passes.tools_common import legalize_graph
from torch.fx.traceback import NodeSource

OPERATORS = torch.ops.torchao


@contextmanager
def fast_tracing() -> Iterator[None]:
    """While the block runs, nothing is traced or written that nobody reads.

    - An operator of quantisation, which consists of some twenty others, tells its shapes itself.
    - Of what would have to hold for a compiled model to be called again, an export needs the sizes
      alone, and no function that checks them.
    - A program that has nothing to decompose is not traced to find that out.
    - A graph that is sorted again for every partition is not written as Python code each time.
    - The record of the traces that a node went through, of which each trace copies all, is shared.
    - No garbage is collected: a graph is all cycles, and nothing is free before it is done.
    """
    guards = CheckFunctionManager.build_guards
    decompose = ExportedProgram.run_decompositions
    with ExitStack() as stack:
        for owner, name, replacement in (
            (CheckFunctionManager, "build_guards", partialmethod(_guard_sizes, guards)),
            (GuardBuilder, "add_python_lambda_leaf_guard_to_root", _nothing),
            (ExportedProgram, "run_decompositions", partialmethod(_decompose_if_any, decompose)),
            (lowered_backend_module, "legalize_graph", _sort),
        ):
            stack.enter_context(patch.object(owner, name, replacement))
        stack.enter_context(patch.object(NodeSource, "__deepcopy__", _itself, create=True))
        stack.enter_context(_known_shapes())
        stack.enter_context(_uncollected())
        yield


@contextmanager
def _known_shapes() -> Iterator[None]:
    shapes: dict[str, Callable] = {
        "choose_qparams_affine": _scale_and_zero,
        "quantize_affine": _like_with_dtype,
        "dequantize_affine": _like_dequantized,
    }
    library = torch.library.Library("torchao", "IMPL")
    try:
        for name, shape in shapes.items():
            computed = decompositions[getattr(OPERATORS, name).default]
            library.impl(
                name,
                _shape_if_fake(computed, shape),
                "CompositeImplicitAutograd",
                allow_override=True,
            )
        yield
    finally:
        library._destroy()


@contextmanager
def _uncollected() -> Iterator[None]:
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _nothing(*_, **__) -> None:
    pass


def _itself(source: NodeSource, _: dict) -> NodeSource:
    return source


def _sort(graph_module: GraphModule) -> GraphModule:
    with patch.object(GraphModule, "recompile", _nothing):
        return legalize_graph(graph_module)


def _guard_sizes(
    manager: CheckFunctionManager, build: Callable, guards: Sequence[Guard], *rest, **options
):
    sizes = [guard for guard in guards if guard.create_fn_name() == "SHAPE_ENV"]
    return build(manager, sizes, *rest, **options)


def _decompose_if_any(
    program: ExportedProgram,
    decompose: Callable,
    decomp_table: Mapping[OpOverload, Callable] | None = None,
    **options,
) -> ExportedProgram:
    functional = program.dialect == "ATEN"  # as a decomposition leaves it
    if functional and decomp_table is not None:
        rewritten = set(decomp_table) - {torch.ops.aten.sym_size.int}  # listed, but never rewritten
        if not contains_any_call_fn_target_op(program.graph_module, rewritten):
            return program
    return decompose(program, decomp_table, **options)


def _shape_if_fake(computed: Callable, shape: Callable) -> Callable:
    def operator(x: torch.Tensor, *arguments, **options):
        found = shape(x, *arguments, **options) if isinstance(x, FakeTensor) else None
        return computed(x, *arguments, **options) if found is None else found

    return operator


def _scale_and_zero(
    x: torch.Tensor,
    mapping_type: str,
    block_size: Sequence[int],
    target_dtype: torch.dtype,
    quant_min: float | None = None,
    quant_max: float | None = None,
    eps: float | None = None,
    scale_dtype: torch.dtype | None = None,
    zero_point_dtype: torch.dtype | None = None,
    keepdim: bool = False,
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """One scale and zero point for each row of ``x``; None for blocks of another form."""
    *leading, last = block_size
    if any(size != 1 for size in leading) or last != x.shape[-1]:
        return None
    shape = (*x.shape[:-1], 1)
    return (
        x.new_empty(shape, dtype=scale_dtype or x.dtype),
        x.new_empty(shape, dtype=zero_point_dtype or torch.int32),
    )


def _like_with_dtype(
    x: torch.Tensor, block_size, scale, zero_point, output_dtype: torch.dtype, *_, **__
) -> torch.Tensor:
    return torch.empty_like(x, dtype=output_dtype)


def _like_dequantized(
    x: torch.Tensor,
    block_size,
    scale,
    zero_point,
    input_dtype,
    quant_min=None,
    quant_max=None,
    output_dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    return torch.empty_like(x, dtype=output_dtype)
