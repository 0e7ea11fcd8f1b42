"""Pool the hidden states of a text into one embedding, in the modes of sentence-transformers.

Every mode but ``max`` is a weighted sum over tokens; masked tokens have the weight 0.
Source: the documentation of sentence-transformers' ``Pooling``.
"""

from collections.abc import Callable, Mapping

import torch

from ..attention import MASKED


def _mean(mask: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return mask / mask.sum(1, keepdim=True)


def _mean_sqrt_len(mask: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return mask / mask.sum(1, keepdim=True).sqrt()


def _weighted_mean(mask: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Weight tokens by position: the first by 1, the second by 2."""
    weights = mask * (places - _first(mask, places))
    return weights / weights.sum(1, keepdim=True)


def _cls(mask: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    return (places - 1 == _first(mask, places)).float()


def _last_token(mask: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    return (places - 1 == (mask * places).argmax(1, keepdim=True)).float()


def _first(mask: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return the index of the first unmasked token, ``[1, 1]``."""
    return (mask / places).argmax(1, keepdim=True)


WEIGHTS: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mean": _mean,
    "cls": _cls,
    "lasttoken": _last_token,
    "mean_sqrt_len_tokens": _mean_sqrt_len,
    "weightedmean": _weighted_mean,
}
MAX = "max"
MODES = (*WEIGHTS, MAX)


def pooled(mode: str, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the embedding of a text, ``[1, d]`` float32.

    Args:
        mode: one of :data:`MODES`.
        states: hidden states, ``[1, S, d]`` float32.
        mask: ``[1, S]`` float32; 0 hides a token.
    """
    if mode == MAX:
        return (states + (1 - mask)[:, :, None] * MASKED).amax(1)
    places = torch.arange(1, mask.shape[1] + 1, dtype=torch.float32)[None]
    return torch.bmm(WEIGHTS[mode](mask, places)[:, None], states)[:, 0]
