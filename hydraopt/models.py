"""What Hugging Face models say of themselves in more than one form, and adding to their layers."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def end_tokens(model: "PreTrainedModel") -> tuple[int, ...]:
    """The tokens that end a generation; none, one or several."""
    ends = model.generation_config.eos_token_id
    return () if ends is None else (ends,) if isinstance(ends, int) else tuple(ends)


def context_length(model: "PreTrainedModel") -> float:
    """Tokens of the longest text; infinite if the configuration names no limit."""
    return getattr(model.config, "max_position_embeddings", math.inf)


@contextmanager
def outputs_plus(
    model: "torch.nn.Module", changes: Mapping[str, "Callable[[torch.Tensor], torch.Tensor]"]
) -> Iterator[None]:
    """While the block runs, module ``name`` gives ``module(x) + changes[name](x)``."""

    def hook(change):
        return lambda _, inputs, output: output + change(inputs[0])

    handles = [
        model.get_submodule(name).register_forward_hook(hook(change))
        for name, change in changes.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
