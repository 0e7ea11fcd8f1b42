"""Programs with external factors: one .pte file and a .ptd file per task.

ExecuTorch itself ships LoRA this way: ``LlmModule`` and ``TextLLMRunner`` load such a pair.
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
    """A decoder with factors as buffers, which a program can store externally."""

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
    """A program with external factors.

    Attributes:
        program: content of the .pte file.
        entries: key and entry of each factor in a .ptd file, in order.
    """

    program: Program
    entries: Sequence[tuple[str, Any]]

    def data(self, factors: Mapping[str, torch.Tensor]) -> bytes:
        """Return the content of one task's .ptd file.

        Args:
            factors: float32 factors by name, in the order and shapes of the lowered ones.
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
    """Lower ``decoder`` with external factors.

    Args:
        decoder: the model with slots.
        factors: factors of any task by name, for their shapes.
        prefill_length: maximum number of tokens per call.
        backend: backend of the matrix products.
        slots: layers of the base model whose matrix products must be delegated.
        metadata: constants that the program returns.

    Raises:
        LoweringError: as :func:`.program.lower`.
    """
    # Equal constants would share one entry, but other tasks' factors differ.
    unequal = {name: torch.full_like(x, 1.0 + i) for i, (name, x) in enumerate(factors.items())}
    exported = export_forward(OwnFactors(decoder, unequal), {}, prefill_length)
    edge, delegation = checked_backend({FORWARD: exported}, backend, slots, metadata)
    lowered = to_executorch(edge, external_constants=_external)
    return WithData(Program(bytes(lowered.buffer), delegation), data_entries(lowered))


def _external(node: torch.fx.Node) -> str | None:
    return "factors" if BUFFER in node.name else None
