"""The module to export: one call of a Hugging Face causal LM."""

import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import require
from .attention import Call, add_caches
from .settings import ExportSettings
from .simplify import delegate_norms


class LastPosition(nn.Module):
    """Apply ``head`` to the last position only; decoding needs no other logits."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """``hidden [1, S, d]`` -> logits ``[1, 1, vocabulary]``."""
        return self.head(hidden[:, -1:])


def restructure(model: PreTrainedModel, settings: ExportSettings) -> Call:
    """Rewrite ``model`` for export, in place and in float32; adapters may be added before or after.

    Args:
        model: a causal LM in float32.
        settings: export settings, resolved.

    Returns:
        The state that receives the positions of each call.

    Raises:
        LoweringError: the model does not support the settings.
    """
    max_length = require(settings.max_length, "max length")
    call = add_caches(model, require(settings.attention, "attention"), max_length)
    delegate_norms(model)
    model.set_output_embeddings(LastPosition(model.get_output_embeddings()))
    return call


class Decoder(nn.Module):
    """``forward(input_ids [1, S], cache_position [S], factors) -> logits [1, 1, vocabulary]``.

    The KV cache of ``max_length`` positions is a mutable buffer of the program. Only positions up
    to the current one are read, so that restarting at position 0 clears it.

    Args:
        model: a restructured causal LM.
        call: state from :func:`restructure`.
        max_length: positions of the cache.
        inputs: dict that the slots read, see :func:`~hydraopt.lowering.slots.insert_slots`.
    """

    def __init__(
        self, model: PreTrainedModel, call: Call, max_length: int, inputs: dict[str, torch.Tensor]
    ):
        super().__init__()
        self.model, self.call, self.max_length, self.inputs = model, call, max_length, inputs

    def forward(
        self,
        input_ids: torch.Tensor,
        cache_position: torch.Tensor,
        factors: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        """Run one call; ``factors`` are the factor inputs by name."""
        start = cache_position[0].item()
        torch._check(start >= 0)
        torch._check(start + input_ids.shape[1] <= self.max_length)
        self.call.begin(cache_position, start)
        self.inputs.update(factors)
        return self.model(
            input_ids=input_ids, position_ids=cache_position[None], use_cache=False
        ).logits
