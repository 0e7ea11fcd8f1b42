"""The module that is exported: one decoding step of a Hugging Face causal LM."""

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedModel
from transformers.integrations.executorch import TorchExportableModuleWithStaticCache


class LastPosition(nn.Module):
    """Applies ``head`` to the last position only: decoding needs no other logits."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """``hidden [1, S, d]`` -> logits ``[1, 1, vocabulary]``."""
        return self.head(hidden[:, -1:])


class Decoder(nn.Module):
    """``forward(input_ids [1, S], cache_position [S], factors) -> logits [1, 1, vocabulary]``.

    The KV cache of ``max_length`` positions is a mutable buffer of the program. It is read up to
    the largest cache position only, so starting again at position 0 forgets what it holds.

    Args:
        model: a causal LM; its output head is replaced by :class:`LastPosition`.
        max_length: number of positions.
        inputs: the dict that the slots read, see :func:`~hydraopt.lowering.slots.insert_slots`.
    """

    def __init__(self, model: PreTrainedModel, max_length: int, inputs: dict[str, torch.Tensor]):
        super().__init__()
        model.generation_config = GenerationConfig(
            use_cache=True,
            cache_implementation="static",
            max_length=max_length,
            cache_config={"batch_size": 1, "max_cache_len": max_length},
        )
        if not isinstance(model.get_output_embeddings(), LastPosition):
            model.set_output_embeddings(LastPosition(model.get_output_embeddings()))
        self.cached = TorchExportableModuleWithStaticCache(model, 1, max_length)
        self.inputs = inputs

    def forward(
        self,
        input_ids: torch.Tensor,
        cache_position: torch.Tensor,
        factors: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        """One step; ``factors`` are the factor inputs by name."""
        self.inputs.update(factors)
        return self.cached(input_ids=input_ids, cache_position=cache_position)
