"""Greedy continuations of prompts: training targets where no answers are known."""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import torch

from ..models import context_length, end_tokens
from .batches import EncodedExample, prefix_cache

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LONGEST = 64  # tokens


def prompt_batches(
    model: "PreTrainedModel", prompts: Sequence[list[int]], size: int
) -> Iterator[list[list[int]]]:
    """Yield batches of prompts for :func:`continuations`.

    A batch is continued until its longest prompt fills the context. Prompts that leave less than 64
    tokens are therefore batched together at the end; the others keep their order.
    """
    limit = context_length(model)
    ordered = sorted(prompts, key=lambda prompt: max(len(prompt), limit - LONGEST))
    for first in range(0, len(ordered), size):
        yield ordered[first : first + size]


@torch.no_grad()
def continuations(
    model: "PreTrainedModel", prompts: Sequence[list[int]], most: int = LONGEST
) -> list[EncodedExample]:
    """Continue prompts greedily, the end token included.

    Args:
        model: generates all continuations in one batch.
        prompts: tokens of each prompt.
        most: maximum number of tokens per continuation.
    """
    longest = max(map(len, prompts))
    columns = zip(*(prompt[:-1] for prompt in prompts), strict=False)
    shared = sum(1 for _ in takewhile(lambda column: len({*column}) == 1, columns))
    # the shared prefix is computed once; padding follows it, so that all prompts end together
    padded = [
        prompt[:shared] + [0] * (longest - len(prompt)) + prompt[shared:] for prompt in prompts
    ]
    attended = [
        [1] * shared + [0] * (longest - len(prompt)) + [1] * (len(prompt) - shared)
        for prompt in prompts
    ]
    ids = torch.tensor(padded, device=model.device)
    past = {"cache": prefix_cache(model, ids[0, :shared], len(ids))} if shared else {}
    ends = end_tokens(model)
    sequences = model.generate(
        ids,
        attention_mask=torch.tensor(attended, device=model.device),
        max_new_tokens=min(most, context_length(model) - longest),
        do_sample=False,
        pad_token_id=ends[0] if ends else 0,
        **past,
    )
    texts = sequences[:, longest:].tolist()
    return [(prompt, _until_end(text, ends)) for prompt, text in zip(prompts, texts, strict=True)]


def _until_end(text: list[int], ends: Sequence[int]) -> list[int]:
    stop = next((n for n, token in enumerate(text, 1) if token in ends), len(text))
    return text[:stop]
