"""What Hugging Face models say of themselves in more than one form."""

import math
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def end_tokens(model: "PreTrainedModel") -> tuple[int, ...]:
    """The tokens that end a generation; none, one or several."""
    ends = model.generation_config.eos_token_id
    return () if ends is None else (ends,) if isinstance(ends, int) else tuple(ends)


@overload
def context_length(model: "PreTrainedModel") -> float: ...


@overload
def context_length(model: "PreTrainedModel", default: int) -> int: ...


def context_length(model: "PreTrainedModel", default: float = math.inf) -> float:
    """Tokens of the longest text; ``default`` if the configuration names no limit."""
    return getattr(model.config, "max_position_embeddings", default)
