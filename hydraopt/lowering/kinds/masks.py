"""Read an encoder's attention patterns from the masks of transformers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from transformers import AttentionMaskInterface, PreTrainedModel

from ...errors import LoweringError
from ..attention import MASKED, some_text
from ..refusing import refusing

MaskFunction = Callable[..., torch.Tensor]
TRIAL, HIDDEN = 8, 3  # tokens of a short text, and masked tokens at its end


def key_mask(mask: torch.Tensor) -> torch.Tensor:
    """Return the additive mask that hides tokens from all others.

    Args:
        mask: mask of a text, ``[1, S]`` float32; 0 hides a token.

    Returns:
        ``[1, 1, 1, S]`` float32.
    """
    return (1 - mask)[:, None, None] * MASKED


def takes_key_mask(model: PreTrainedModel, length: int) -> bool:
    """Return whether :func:`key_mask` can replace the mask of a text in all layers.

    It is cheaper than the masks of transformers, and many models pass it on to every layer. It
    does not suit layers with windows, or models that expect a mask of ones and zeros.

    Args:
        model: model with eager attention.
        length: length of the longest text in tokens.
    """
    functions = mask_functions(model)
    if not functions or any(_is_partial(function, length) for function in functions):
        return False
    mask = _trial_mask()
    reference = _seen(model, mask)
    try:
        output = _seen(model, key_mask(mask.float()))
    except LoweringError:  # the model expects another shape
        return False
    return torch.allclose(output, reference, atol=1e-5)


def exercising(model: PreTrainedModel, length: int) -> int:
    """Return a length, at most ``length``, of a text whose ends are outside each other's windows.

    Args:
        model: model with eager attention.
        length: length of the longest text in tokens.
    """
    reaches = [_reach(function, length) for function in mask_functions(model)]
    return min(length, max([TRIAL, *(2 * reach for reach in reaches if reach < length)]))


def mask_functions(model: PreTrainedModel) -> list[MaskFunction]:
    """Return the functions of ``(batch, head, query, key)`` behind a model's masks.

    One for each mask that ``model`` requests from transformers; none if it makes its own.

    Raises:
        LoweringError: the model needs more inputs than token ids and a mask.
    """
    functions: list[MaskFunction] = []
    with _recorded(functions):
        _seen(model, _trial_mask())
    return functions


@contextmanager
def _recorded(functions: list[MaskFunction]) -> Iterator[None]:
    """Record the function of every mask made for eager attention in the block."""
    eager_mask = AttentionMaskInterface()["eager"]

    def record(*sizes: int, mask_function: MaskFunction, **options) -> torch.Tensor | None:
        functions.append(mask_function)
        return eager_mask(*sizes, mask_function=mask_function, **options)

    AttentionMaskInterface.register("eager", record)
    try:
        yield
    finally:
        AttentionMaskInterface.register("eager", eager_mask)


def _trial_mask() -> torch.Tensor:
    return (torch.arange(TRIAL) < TRIAL - HIDDEN).long()[None]


def _seen(model: PreTrainedModel, mask: torch.Tensor) -> torch.Tensor:
    """Return the first output for unmasked tokens, ``[S, d]`` or ``[1, classes]``."""
    what = f"{model.config.model_type} does not run on token ids and their mask alone"
    with torch.no_grad(), refusing(what):
        found = model(input_ids=some_text(model, TRIAL), attention_mask=mask)[0]
    return found[0, : TRIAL - HIDDEN] if found.dim() == 3 else found


def _is_partial(function: MaskFunction, length: int) -> bool:
    """Return whether some token of a text of ``length`` does not attend to all others."""
    ends = torch.tensor([0, length // 2, length - 1])
    return not bool(_visible(function, ends, torch.arange(length)).all())


def _reach(function: MaskFunction, length: int) -> int:
    """Return how many tokens attend to the first, itself included."""
    return int(_visible(function, torch.arange(length), torch.tensor([0])).sum())


def _visible(function: MaskFunction, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Evaluate a mask function, bool ``[queries, keys]``."""
    zero = torch.zeros(1, 1, dtype=torch.int64)
    seen = function(zero, zero, queries[:, None], keys[None])
    return seen.expand(len(queries), len(keys))
