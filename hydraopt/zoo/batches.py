"""Prompt/answer pairs as token batches. The answer ends in ``<eos>``; only it is learned."""

import random
from collections.abc import Iterator
from itertools import islice

import torch

from .model import EOS_ID, PAD_ID

IGNORE = -100
POOL = 16  # batches drawn at once and sorted by length, so that little padding is computed


def collate(pairs: list[tuple[str, str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ``ids`` and ``labels``, both int64 ``[len(pairs), longest]``.

    Labels are ``IGNORE`` on the prompt and on the padding.
    """
    rows = [(list(p.encode()), [*a.encode(), EOS_ID]) for p, a in pairs]
    longest = max(len(p) + len(a) for p, a in rows)
    ids = torch.full((len(rows), longest), PAD_ID)
    labels = torch.full((len(rows), longest), IGNORE)
    for i, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        ids[i, :end] = torch.tensor(prompt + answer)
        labels[i, len(prompt) : end] = torch.tensor(answer)
    return ids, labels


def batches(
    pairs: Iterator[tuple[str, str]], size: int, rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches of ``size`` pairs of similar length."""
    while True:
        pool = sorted(islice(pairs, POOL * size), key=lambda pair: len(pair[0]) + len(pair[1]))
        starts = list(range(0, POOL * size, size))
        rng.shuffle(starts)
        for start in starts:
            yield collate(pool[start : start + size])
