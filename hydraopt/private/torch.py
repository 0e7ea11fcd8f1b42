"""torch: make ``torch.export`` faster by skipping what an export does not need.

Nothing here changes a program. Patches apply only to the thread that entered the block.
"""

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from .names import Name

GUARD_MANAGER = Name(
    "torch._dynamo.guards:CheckFunctionManager.build_guards",
    "makes the guards of a compiled model; an export needs those of sizes alone",
)
GUARD_FUNCTIONS = Name(
    "torch._dynamo.guards:GuardBuilder.add_python_lambda_leaf_guard_to_root",
    "writes functions that check guards, which an export never calls",
)
NODE_SOURCE = Name(
    "torch.fx.traceback:NodeSource",
    "records the traces that a node went through, and is copied in every trace",
)
FAKE_TENSOR = Name(
    "torch._subclasses.fake_tensor:FakeTensor",
    "is a tensor with a shape and no data, used in traces",
)
DECOMPOSITIONS = Name(
    "torch._inductor.decomposition:decompositions",
    "holds the decompositions of torchao's operators, to compute them on real tensors",
)
LIBRARY_END = Name(
    "torch.library:Library._destroy", "removes an operator's overriding implementation"
)


def in_this_thread(replacement: Callable, original: Callable) -> Callable:
    """Return a function that is ``replacement`` in this thread and ``original`` in all others."""
    owner = threading.get_ident()

    @wraps(original, updated=())
    def chosen(*arguments: Any, **options: Any) -> Any:
        function = replacement if threading.get_ident() == owner else original
        return function(*arguments, **options)

    return chosen


@contextmanager
def replaced(name: Name, make: Callable[[Callable], Callable]) -> Iterator[None]:
    """Patch a function with ``make(function)`` in this thread for the block.

    Raises:
        GoneError: the library has no such function.
    """
    original = name.get()
    replacement = in_this_thread(make(original), original)
    with patch(str(name), replacement):
        yield


def size_guards() -> AbstractContextManager[None]:
    """Make only the guards of sizes."""

    def only_sizes(build: Callable) -> Callable:
        def guarded(manager: Any, guards: Sequence, *rest: Any, **options: Any) -> Any:
            sizes = [guard for guard in guards if guard.create_fn_name() == "SHAPE_ENV"]
            return build(manager, sizes, *rest, **options)

        return guarded

    return replaced(GUARD_MANAGER, only_sizes)


def no_guard_functions() -> AbstractContextManager[None]:
    """Skip writing functions that check guards."""
    return replaced(GUARD_FUNCTIONS, lambda _: _nothing)


def shared_sources() -> AbstractContextManager:
    """Share a node's record between its copies."""
    itself = in_this_thread(lambda record, _: record, _copied)
    return patch.object(NODE_SOURCE.get(), "__deepcopy__", itself, create=True)


def decomposed_if_any() -> AbstractContextManager:
    """Skip the trace of ``run_decompositions`` if nothing needs decomposing."""
    original = ExportedProgram.run_decompositions

    def decompose(
        program: ExportedProgram, decomp_table: Mapping | None = None, **options: Any
    ) -> ExportedProgram:
        functional = program.dialect == "ATEN"  # it was decomposed before
        if functional and decomp_table is not None:
            # sym_size is listed but never rewritten
            rewritten = set(decomp_table) - {torch.ops.aten.sym_size.int}
            if rewritten.isdisjoint(_operators(program.graph_module)):
                return program
        return original(program, decomp_table, **options)

    here = in_this_thread(decompose, original)
    return patch.object(ExportedProgram, "run_decompositions", here)


@contextmanager
def known_shapes(library: str, shapes: Mapping[Any, Callable]) -> Iterator[None]:
    """Compute the output shapes of operators in a trace without tracing into them.

    Applies to all threads; the traces are the same.

    Args:
        library: namespace of the operators.
        shapes: operator -> function of its arguments that returns tensors like its outputs, or
            None for arguments that it does not support.
    """
    fake, table, end = FAKE_TENSOR.get(), DECOMPOSITIONS.get(), LIBRARY_END.get()
    if not shapes.keys() <= table.keys():
        raise DECOMPOSITIONS.gone()
    opened = torch.library.Library(library, "IMPL")
    try:
        for operator, shape in shapes.items():
            opened.impl(
                operator,
                _shape_if_fake(table[operator], shape, fake),
                "CompositeImplicitAutograd",
                allow_override=True,
            )
        yield
    finally:
        end(opened)


def _operators(module: GraphModule) -> set[Any]:
    """Return the operators that a graph and its subgraphs call."""
    graphs = [x.graph for x in module.modules() if isinstance(x, GraphModule)]
    return {node.target for graph in graphs for node in graph.nodes if node.op == "call_function"}


def _shape_if_fake(computed: Callable, shape: Callable, fake: type) -> Callable:
    def operator(x: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        found = shape(x, *arguments, **options) if isinstance(x, fake) else None
        return computed(x, *arguments, **options) if found is None else found

    return operator


def _copied(record: Any, memo: dict) -> Any:
    """Copy as :func:`copy.deepcopy` copies an object without ``__deepcopy__``."""
    found = object.__new__(type(record))
    memo[id(record)] = found
    found.__dict__.update(copy.deepcopy(record.__dict__, memo))
    return found


def _nothing(*_: object, **__: object) -> None:
    pass
