"""Pack merged adapters exactly, as fp16."""

import math
from collections.abc import Sequence

import torch

from ..factors import Factors, padded
from ..formats.layout import SIDES, Code, Direction, Layout, ModuleLayout
from ..progress import progress
from ..stored import MergedAdapters, Side
from .codec import Coded, encode
from .coded import CodedAdapters, join_vectors

VERBATIM_BITS = 16


def code_verbatim(merged: MergedAdapters | CodedAdapters) -> CodedAdapters:
    """Code merged adapters in fp16, with shared factors in the shared payload.

    Compressed adapters are returned unchanged.
    """
    if isinstance(merged, CodedAdapters):
        return merged
    layout = Layout(
        merged.base_model, {name: layout_of(sides) for name, sides in merged.modules.items()}
    )
    payloads = {
        task: join_vectors(layout.task, _vectors(merged, layout, index, shared=False))
        for index, task in enumerate(progress(merged.tasks, "code"))
    }
    shared = join_vectors(layout.shared, _vectors(merged, layout, 0, shared=True))
    return CodedAdapters(
        merged.method,
        merged.settings,
        layout,
        shared,
        payloads,
        adapter_bytes=merged.adapter_bytes,
        errors=merged.errors,
        task_type=merged.task_type,
        base_weights=merged.base_weights,
    )


def layout_of(sides: tuple[Side, Side]) -> ModuleLayout:
    """Return the layout of one module or head at 16 bits per value."""
    a, b = sides
    direction = Direction(Code(VERBATIM_BITS, a.is_shared), Code(VERBATIM_BITS, b.is_shared))
    shape = (b.stack.shape[1], a.stack.shape[2])
    row, column = map(_largest_step, sides)
    return ModuleLayout(shape, (direction,) * a.stack.shape[1], (row, column))


def encode_heads(layout: ModuleLayout, heads: Sequence[Factors]) -> tuple[list[Coded], list[Coded]]:
    """Encode the heads of N tasks: all rows and all biases, in order, each with N vectors."""
    rank = len(layout.directions)
    together = [padded(head, rank) for head in heads]
    rows = torch.stack([head.a for head in together], 1)
    biases = torch.stack([head.b.T for head in together], 1)
    row_step, bias_step = layout.largest_steps
    return (
        [encode(x, VERBATIM_BITS, row_step) for x in rows],
        [encode(x, VERBATIM_BITS, bias_step) for x in biases],
    )


def _largest_step(side: Side) -> float:
    """Return the largest step: 1, or more if factors exceed the range of fp16."""
    largest = max(float(side.factor(task).abs().max()) for task in side.tasks)
    return 2.0 ** max(0, math.frexp(largest)[1] - 15)


def _rows(side: Side, letter: str, task: int) -> torch.Tensor:
    """Return one task's vectors of a side, ``[R, length]``."""
    factor = side.factor(task)
    return factor if letter == "A" else factor.T


def _vectors(
    merged: MergedAdapters, layout: Layout, task: int, *, shared: bool
) -> dict[tuple[str, str, int], Coded]:
    """Encode the shared vectors, or those of one task."""
    coded = {}
    for name, sides in merged.modules.items():
        for side, letter, largest_step in zip(
            sides, SIDES, layout.modules[name].largest_steps, strict=True
        ):
            if side.is_shared == shared:
                codes, steps = encode(_rows(side, letter, task), VERBATIM_BITS, largest_step)
                for index, vector in enumerate(zip(codes, steps, strict=True)):
                    coded[name, letter, index] = Coded(*vector)
    return coded
