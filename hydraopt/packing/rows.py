"""Shared rows as the integers and scales of a quantised program's layers."""

from collections.abc import Mapping, Sequence

import torch

from ..formats.codes import GROUP, GROUPED
from ..formats.layout import Layout, ModuleLayout
from ..rounding import IntegerWeight
from .codec import ZERO, Coded, decode_steps
from .coded import split_payload
from .encode import decode_vectors
from .groups import read_groups

LARGEST = 127


def shared_rows(layout: Layout, shared: torch.Tensor) -> Mapping[str, IntegerWeight]:
    """Return the shared rows of every module that has any.

    Codes of 4.5 and 8 bits already are such integers and scales, and stay exact; rows of other
    codes are rounded to int8.

    Args:
        layout: the layout.
        shared: the shared payload, uint8 ``[Ns]``.
    """
    vectors = split_payload(layout.shared, shared)
    coded = {
        name: [vectors[name, "A", index] for index in range(module.shared_rows)]
        for name, module in layout.modules.items()
    }
    return {name: _rows(layout.modules[name], rows) for name, rows in coded.items() if rows}


def rounded_rows(rows: torch.Tensor) -> IntegerWeight:
    """Round ``rows [n, in]`` to int8, with a scale per row."""
    scales = (rows.abs().amax(1, keepdim=True) / LARGEST).clamp_min(torch.finfo().tiny)
    return IntegerWeight((rows / scales).round().to(torch.int8), scales, 8)


def _rows(module: ModuleLayout, coded: Sequence[Coded]) -> IntegerWeight:
    bits = {code.bits for code in module.codes("A") if code.shared}
    length, largest_step = module.length("A"), module.largest_steps[0]
    if bits not in ({8}, {GROUPED}) or (bits == {GROUPED} and length % GROUP):
        return rounded_rows(torch.stack(decode_vectors(module, "A", coded)))
    codes = torch.stack([x.codes for x in coded])
    steps = decode_steps(torch.stack([x.step for x in coded]), largest_step)[:, None]
    if bits == {8}:
        return IntegerWeight((codes.int() - ZERO).to(torch.int8), steps, 8)
    values, scales = read_groups(codes, length)
    return IntegerWeight(values, scales.float() * steps, 4)
