"""The rows that all tasks share, in the form in which a program keeps them."""

from collections.abc import Mapping

import torch

from ..formats.codes import GROUP, GROUPED
from ..formats.layout import Layout, ModuleLayout
from .codec import decode_steps
from .coded import split_payload
from .encode import decode_vectors
from .groups import Groups, read_groups


def shared_rows(layout: Layout, shared: torch.Tensor) -> Mapping[str, Groups | torch.Tensor]:
    """Shared rows of every module that has some.

    Args:
        layout: the layout.
        shared: the payload that all tasks share, uint8 ``[Ns]``.

    Returns:
        module -> int4 groups of ``[n, in]``, where the rows are coded so; float32 ``[n, in]`` else.
    """
    vectors = split_payload(layout.shared, shared)
    rows: dict[str, Groups | torch.Tensor] = {}
    for name, module in layout.modules.items():
        coded = [vectors[name, "A", index] for index in range(module.shared_rows)]
        if not coded:
            continue
        if _are_groups(module):
            values, scales = zip(
                *(read_groups(x.codes, module.length("A")) for x in coded), strict=True
            )
            steps = decode_steps(torch.stack([x.step for x in coded]), module.tops[0])
            rows[name] = Groups(
                torch.stack(values),
                (torch.stack(scales).float() * steps[:, None]).to(torch.bfloat16),
            )
        else:
            rows[name] = torch.stack(decode_vectors(module, "A", coded))
    return rows


def _are_groups(module: ModuleLayout) -> bool:
    bits = {code.bits for code in module.codes("A") if code.shared}
    return bits == {GROUPED} and module.length("A") % GROUP == 0
