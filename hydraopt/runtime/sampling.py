"""Choosing the next token from logits."""

import math
from dataclasses import dataclass

import torch

from ..errors import UsageError


@dataclass(frozen=True)
class Sampling:
    """Settings of greedy decoding and random sampling.

    Applied in the order of transformers: temperature, ``top_k``, ``top_p``.

    Attributes:
        temperature: divides the logits; 0 is greedy and ignores the other fields.
        top_p: keep the most likely tokens whose probabilities add up to ``top_p``.
        top_k: keep the ``top_k`` most likely tokens, and ties with the last; None keeps all.
        seed: seed of the random numbers; None draws a new one for every text.

    Raises:
        UsageError: a value out of range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None

    def __post_init__(self):
        for name, holds, expected in (
            ("temperature", 0 <= self.temperature < math.inf, "0 (greedy) or a positive number"),
            ("top_p", 0 < self.top_p <= 1, "more than 0 and at most 1"),
            ("top_k", self.top_k is None or self.top_k >= 1, "at least 1"),
            ("seed", self.seed is None or 0 <= self.seed < 2**64, "0 to 2^64 - 1"),
        ):
            if not holds:
                raise UsageError(f"{name} is {getattr(self, name)}, expected {expected}")

    def generator(self) -> torch.Generator:
        """Return a seeded random number generator for one text."""
        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed(self.seed)
        return generator


GREEDY = Sampling()


def next_token(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Choose the next token.

    Args:
        logits: ``[vocabulary]``, float32.
        sampling: temperature, ``top_k`` and ``top_p``.
        generator: source of the random number; unused if greedy.
    """
    if sampling.temperature == 0:
        return int(logits.argmax())
    chances = probabilities(logits, sampling)
    if chances.isnan().any():  # logits overflow at tiny temperatures, whose limit is greedy
        return int(logits.argmax())
    return int(torch.multinomial(chances, 1, generator=generator))


def probabilities(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Return the sampling distribution ``[vocabulary]``; the temperature must not be 0."""
    scores = logits / sampling.temperature
    if sampling.top_k is not None:
        weakest = scores.topk(min(sampling.top_k, len(scores))).values[-1]
        scores = scores.where(scores >= weakest, -math.inf)
    if sampling.top_p < 1:
        rising, order = scores.sort()
        tail = rising.softmax(0).cumsum(0) <= 1 - sampling.top_p
        tail[-1] = False  # keep the most likely token despite rounding
        scores = scores.index_fill(0, order[tail], -math.inf)
    return scores.softmax(0)
