"""Merged adapters as packs without loss: 16 bits per value.

Uniform over a vector's range, 16-bit codes err less than fp16 does.
"""

import torch
from tqdm import tqdm

from ..merging import MergedAdapters, Side
from .codec import TINY, Coded, encode, uniform_step
from .coded import CodedAdapters, assemble
from .layout import SIDES, Code, Direction, Layout, ModuleLayout

BITS = 16
HEADROOM = 16.0  # for adapters that come later


def code_verbatim(merged: MergedAdapters) -> CodedAdapters:
    """Code what ``merged`` stores; what its tasks share goes into the shared pack."""
    layout = Layout(
        merged.base_model, {name: _layout(sides) for name, sides in merged.modules.items()}
    )
    payloads = {
        task: assemble(layout.task, _vectors(merged, layout, index, shared=False))
        for index, task in enumerate(tqdm(merged.tasks, desc="code", disable=None, leave=False))
    }
    shared = assemble(layout.shared, _vectors(merged, layout, 0, shared=True))
    return CodedAdapters(
        merged.method,
        merged.settings,
        layout,
        shared,
        payloads,
        merged.adapter_bytes,
        merged.errors,
    )


def _layout(sides: tuple[Side, Side]) -> ModuleLayout:
    a, b = sides
    direction = Direction(Code(BITS, a.is_shared), Code(BITS, b.is_shared))
    tops = tuple(
        HEADROOM * max(TINY, float(uniform_step(side.stack.abs().max().float(), BITS)))
        for side in sides
    )
    shape = (b.stack.shape[1], a.stack.shape[2])
    return ModuleLayout(shape, (direction,) * a.stack.shape[1], tops)


def _rows(side: Side, letter: str, task: int) -> torch.Tensor:
    """One task's vectors of a side, ``[R, length]``."""
    factor = side.factor(task)
    return factor if letter == "A" else factor.T


def _vectors(
    merged: MergedAdapters, layout: Layout, task: int, *, shared: bool
) -> dict[tuple[str, str, int], Coded]:
    """The shared vectors, or one task's."""
    coded = {}
    for name, sides in merged.modules.items():
        for side, letter, top in zip(sides, SIDES, layout.modules[name].tops, strict=True):
            if side.is_shared == shared:
                codes, steps = encode(_rows(side, letter, task), BITS, top)
                for index, vector in enumerate(zip(codes, steps, strict=True)):
                    coded[name, letter, index] = Coded(*vector)
    return coded
