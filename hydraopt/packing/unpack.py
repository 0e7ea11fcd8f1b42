"""Unpack payloads to factors, in a module that PyTorch and ExecuTorch both run."""

from itertools import groupby
from typing import NamedTuple

import torch
from torch import nn

from ..formats.layout import Layout, Section
from .codec import TRELLIS_BITS, levels, step_table
from .trellis import Tables, tables


class Span(NamedTuple):
    """Consecutive directions of one factor: vectors ``start`` to ``stop`` of a section."""

    section: int
    start: int
    stop: int


class Unpack(nn.Module):
    """``unpack(shared uint8 [Ns], task uint8 [Nt]) -> A [1, in, R], B [1, R, out], A, B, …``.

    The factors are float32, in the layout's order, and add ``x A B`` to a layer.

    Args:
        layout: the layout.
        static_rows: shared rows are layers of the program. The only argument is then ``task``, and
            A holds the private rows; it is omitted for a module without private rows.
    """

    def __init__(self, layout: Layout, *, static_rows: bool = False):
        super().__init__()
        shared = () if static_rows else layout.shared
        self.shared = nn.ModuleList(UnpackSection(section) for section in shared)
        self.task = nn.ModuleList(UnpackSection(section) for section in layout.task)
        self.sides = [side for _, side, _ in layout.factors(static_rows=static_rows)]
        self.spans = _spans(layout, static_rows=static_rows)

    def forward(self, *payloads: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Unpack the payload of a task, after the shared payload unless ``static_rows``."""
        values = [section(payloads[0]) for section in self.shared]
        values += [section(payloads[-1]) for section in self.task]
        factors = []
        for side, spans in zip(self.sides, self.spans, strict=True):
            parts = [values[span.section][span.start : span.stop] for span in spans]
            factor = (torch.cat(parts) if len(parts) > 1 else parts[0])[None]
            factors.append(factor.transpose(1, 2).contiguous() if side == "A" else factor)
        return tuple(factors)


class UnpackSection(nn.Module):
    """``unpack(payload uint8 [N]) -> [n, length]`` for one section, float32."""

    def __init__(self, section: Section):
        super().__init__()
        self.section = section
        current, previous = tables(section.bits) if section.bits in TRELLIS_BITS else (None, None)
        self.register_buffer("current", current)
        self.register_buffer("previous", previous)
        self.register_buffer("steps", step_table())
        self.register_buffer(
            "largest_steps", torch.tensor([[vector.largest_step] for vector in section.vectors])
        )

    def forward(self, payload: torch.Tensor) -> torch.Tensor:
        """Look up the levels and steps of all vectors at once."""
        section = self.section
        codes = payload[section.offset : section.steps].view(len(section.vectors), section.width)
        steps = payload[section.steps : section.end].to(torch.int32)
        steps = nn.functional.embedding(steps, self.steps) * self.largest_steps
        trellis = None if self.current is None else Tables(self.current, self.previous)
        return levels(codes, section.bits, section.length, trellis) * steps


def _spans(layout: Layout, *, static_rows: bool) -> list[list[Span]]:
    """Return the spans of every factor, in the layout's order."""
    sections = layout.task if static_rows else layout.shared + layout.task
    places = {
        vector[:3]: (number, place)
        for number, section in enumerate(sections)
        for place, vector in enumerate(section.vectors)
    }
    factors = []
    for name, side, directions in layout.factors(static_rows=static_rows):
        vectors = [places[name, side, index] for index in directions]
        spans = []
        # consecutive: same section, and a constant difference between place and index
        for _, neighbours in groupby(enumerate(vectors), lambda x: (x[1][0], x[1][1] - x[0])):
            members = [place for _, place in neighbours]
            spans.append(Span(members[0][0], members[0][1], members[-1][1] + 1))
        factors.append(spans)
    return factors
