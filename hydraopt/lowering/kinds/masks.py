"""What the layers of an encoder see of a text, by the masks that transformers makes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from transformers import AttentionMaskInterface, PreTrainedModel

from ...errors import LoweringError
from ..attention import MASKED, some_text
from ..refusing import refusing

MaskFunction = Callable[..., torch.Tensor]
TRIAL, HIDDEN = 8, 3  # tokens of a short text, and those at its end that nobody may see


def row_of(mask: torch.Tensor) -> torch.Tensor:
    """What hides tokens from all others, to be added to the scores.

    Args:
        mask: of a text, ``[1, S]`` float32; 0 hides a token.

    Returns:
        ``[1, 1, 1, S]`` float32.
    """
    return (1 - mask)[:, None, None] * MASKED


def row_masks(model: PreTrainedModel, length: int) -> bool:
    """Whether :func:`row_of` masks all layers as the text's own mask does.

    That row is cheaper than what transformers makes of a mask, and many models hand it on to every
    layer as it is. It is wrong for layers that see a part of the text, and for models that take
    it for a mask of ones and zeros.

    Args:
        model: with eager attention.
        length: tokens of the longest text.
    """
    functions = mask_functions(model)
    if not functions or any(_is_partial(function, length) for function in functions):
        return False
    mask = _trial_mask()
    wanted = _seen(model, mask)
    try:
        found = _seen(model, row_of(mask.float()))
    except LoweringError:  # of code that expects another shape
        return False
    return torch.allclose(found, wanted, atol=1e-5)


def exercising(model: PreTrainedModel, length: int) -> int:
    """Tokens of a text, at most ``length``, whose ends lie outside each other's windows.

    Args:
        model: with eager attention.
        length: tokens of the longest text.
    """
    reaches = [_reach(function, length) for function in mask_functions(model)]
    return min(length, max([TRIAL, *(2 * reach for reach in reaches if reach < length)]))


def mask_functions(model: PreTrainedModel) -> list[MaskFunction]:
    """What says ``(batch, head, query, key)`` by ``(batch, head, query, key)`` who sees whom.

    One for each mask that ``model`` asks transformers for; none if it makes its own.

    Raises:
        LoweringError: a model that takes more than token ids and a mask.
    """
    functions: list[MaskFunction] = []
    with _recorded(functions):
        _seen(model, _trial_mask())
    return functions


@contextmanager
def _recorded(functions: list[MaskFunction]) -> Iterator[None]:
    """Keep the function of every mask that is made for eager attention while the block runs."""
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
    """The first output for the tokens that are not hidden, ``[S, d]`` or ``[1, classes]``."""
    what = f"{model.config.model_type} does not run on token ids and their mask alone"
    with torch.no_grad(), refusing(what):
        found = model(input_ids=some_text(model, TRIAL), attention_mask=mask)[0]
    return found[0, : TRIAL - HIDDEN] if found.dim() == 3 else found


def _is_partial(function: MaskFunction, length: int) -> bool:
    """Whether some token of a text of ``length`` does not see all others."""
    ends = torch.tensor([0, length // 2, length - 1])
    return not bool(_visible(function, ends, torch.arange(length)).all())


def _reach(function: MaskFunction, length: int) -> int:
    """How many tokens the first one is seen by, itself among them."""
    return int(_visible(function, torch.arange(length), torch.tensor([0])).sum())


def _visible(function: MaskFunction, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Who sees whom, bool ``[queries, keys]``."""
    zero = torch.zeros(1, 1, dtype=torch.int64)
    seen = function(zero, zero, queries[:, None], keys[None])
    return seen.expand(len(queries), len(keys))
