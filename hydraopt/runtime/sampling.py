"""Choosing the next token from logits."""

import math
from dataclasses import dataclass

import torch

from ..errors import UsageError


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: the likeliest, or drawn at random.

    Temperature comes first, then ``top_k``, then ``top_p``, as in transformers.

    Attributes:
        temperature: divides the logits; 0 is greedy, whatever the other fields are.
        top_p: the likeliest tokens that have this probability together are kept.
        top_k: so many of the likeliest tokens are kept, and what ties with the last; None for all.
        seed: equal seeds give equal texts; None for another text every time.

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
        """A new source of random numbers for one text."""
        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed(self.seed)
        return generator


GREEDY = Sampling()


def next_token(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Choose a token.

    Args:
        logits: ``[vocabulary]``, float32.
        sampling: how.
        generator: gives the random number; greedy takes none.
    """
    if sampling.temperature == 0:
        return int(logits.argmax())
    chances = probabilities(logits, sampling)
    if chances.isnan().any():  # so cold that the logits overflow: greedy is the limit
        return int(logits.argmax())
    return int(torch.multinomial(chances, 1, generator=generator))


def probabilities(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """What a token is drawn from, ``[vocabulary]``, by a temperature that is not 0."""
    scores = logits / sampling.temperature
    if sampling.top_k is not None:
        weakest = scores.topk(min(sampling.top_k, len(scores))).values[-1]
        scores = scores.where(scores >= weakest, -math.inf)
    if sampling.top_p < 1:
        rising, order = scores.sort()
        tail = rising.softmax(0).cumsum(0) <= 1 - sampling.top_p
        tail[-1] = False  # the likeliest token stays, however rounding goes
        scores = scores.index_fill(0, order[tail], -math.inf)
    return scores.softmax(0)
