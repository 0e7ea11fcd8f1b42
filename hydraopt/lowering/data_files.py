"""Factors outside the program: one .pte and, for each task, a .ptd file that is loaded with it.

This is how ExecuTorch itself ships LoRA: its ``LlmModule`` and ``TextLLMRunner`` take such a pair.
Switching loads both again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..formats.manifest import FORWARD
from ..private.executorch import data_entries, data_file
from .backends.backend import Backend
from .decoder import Decoder
from .metadata import NO_METADATA, Metadatum
from .program import Program, checked_backend, export_forward, to_executorch

BUFFER = "factor_"


class OwnFactors(nn.Module):
    """A decoder whose slots' inputs are buffers of this module, which can lie outside a program."""

    def __init__(self, decoder: Decoder, factors: Mapping[str, torch.Tensor]):
        super().__init__()
        self.decoder, self.names = decoder, tuple(factors)
        for index, factor in enumerate(factors.values()):
            self.register_buffer(f"{BUFFER}{index}", factor.contiguous())

    def forward(
        self,
        input_ids: torch.Tensor,
        cache_position: torch.Tensor,
        factors: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        """As :class:`Decoder`; ``factors`` is empty."""
        own = {name: getattr(self, f"{BUFFER}{i}") for i, name in enumerate(self.names)}
        return self.decoder(input_ids, cache_position, own)


@dataclass(frozen=True)
class WithData:
    """A program that finds its factors in a data file.

    Attributes:
        program: the .pte file's content.
        entries: for each factor, in order, its key in a data file and its entry there.
    """

    program: Program
    entries: Sequence[tuple[str, Any]]

    def data(self, factors: Mapping[str, torch.Tensor]) -> bytes:
        """The content of one task's .ptd file.

        Args:
            factors: by name, float32, in the order and the shapes of those that were lowered.
        """
        buffers = [factor.contiguous().numpy().tobytes() for factor in factors.values()]
        return data_file(buffers, self.entries)


def lower_with_data(
    decoder: Decoder,
    factors: Mapping[str, torch.Tensor],
    prefill_length: int,
    backend: Backend,
    slots: Sequence[str] = (),
    metadata: Mapping[str, Metadatum] = NO_METADATA,
) -> WithData:
    """Lower ``decoder`` with factors that lie in a data file.

    Args:
        decoder: the model with its slots.
        factors: of any task, by name; they give the shapes.
        prefill_length: most tokens of one call.
        backend: what runs its matrix products.
        slots: layers of the base model whose matrix products must be delegated.
        metadata: constants that the program tells.

    Raises:
        LoweringError: as :func:`.program.lower`.
    """
    # Constants with equal bytes would share one entry, which other tasks' could not.
    unequal = {name: torch.full_like(x, 1.0 + i) for i, (name, x) in enumerate(factors.items())}
    exported = export_forward(OwnFactors(decoder, unequal), {}, prefill_length)
    edge, delegation = checked_backend({FORWARD: exported}, backend, slots, metadata)
    lowered = to_executorch(edge, external_constants=_external)
    return WithData(Program(bytes(lowered.buffer), delegation), data_entries(lowered))


def _external(node: torch.fx.Node) -> str | None:
    return "factors" if BUFFER in node.name else None
