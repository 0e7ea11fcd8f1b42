"""Making the export stack fast: nearly all of its time goes into tracing the same graph again.

Nothing here changes a program. A language model of 30 layers is traced some twenty times, each
time operator by operator with fake tensors, which know shapes and have no data.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partialmethod

import torch
import torchao.quantization  # noqa: F401  defines the operators of torch.ops.torchao
from torch._dynamo.guards import CheckFunctionManager
from torch._guards import Guard
from torch._inductor.decomposition import decompositions
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.traceback import NodeSource

OPERATORS = torch.ops.torchao


@contextmanager
def fast_tracing() -> Iterator[None]:
    """While the block runs, operators of quantisation tell their shapes without being traced.

    Each of them consists of some twenty operators, whose shapes nobody asks for. The record of the
    traces that a node went through, of which each trace copies all, is shared instead. Of what
    would have to hold for a compiled model to be called again, an export needs the sizes alone.
    Also collects no garbage: a graph is all cycles, and there is nothing to free before it is done.
    """
    shapes: dict[str, Callable] = {
        "choose_qparams_affine": _scale_and_zero,
        "quantize_affine": _like_with_dtype,
        "dequantize_affine": _like_dequantized,
    }
    collecting = gc.isenabled()
    library = torch.library.Library("torchao", "IMPL")
    gc.disable()
    NodeSource.__deepcopy__ = lambda source, _: source
    build_guards = CheckFunctionManager.build_guards
    CheckFunctionManager.build_guards = partialmethod(_guard_sizes, build_guards)
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
        del NodeSource.__deepcopy__
        CheckFunctionManager.build_guards = build_guards
        if collecting:
            gc.enable()


def _guard_sizes(
    manager: CheckFunctionManager, build: Callable, guards: Sequence[Guard], *rest, **options
):
    sizes = [guard for guard in guards if guard.create_fn_name() == "SHAPE_ENV"]
    return build(manager, sizes, *rest, **options)


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
