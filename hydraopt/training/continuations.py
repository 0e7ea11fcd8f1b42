"""Greedy continuations of prompts: training targets where no answers are known."""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import torch

from ..models import context_length, end_tokens
from .batches import EncodedExample, batched, prefix_cache

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LONGEST = 64  # tokens
BEGUN = 16  # tokens after which finished texts leave the batch; then again at each doubling


def prompt_batches(
    model: "PreTrainedModel", prompts: Sequence[list[int]], size: int
) -> Iterator[Sequence[list[int]]]:
    """Return batches of prompts for :func:`continuations`.

    A batch is continued until its longest prompt fills the context. Prompts that leave less than 64
    tokens are therefore batched together at the end; the others keep their order.
    """
    limit = context_length(model)
    ordered = sorted(prompts, key=lambda prompt: max(len(prompt), limit - LONGEST))
    return batched(ordered, size)


def continuations(
    model: "PreTrainedModel", prompts: Sequence[list[int]], most: int = LONGEST
) -> list[EncodedExample]:
    """Continue prompts greedily, the end token included.

    Args:
        model: generates all continuations in one batch, which gets smaller as texts end.
        prompts: tokens of each prompt.
        most: maximum number of tokens per continuation.
    """
    room = int(min(most, context_length(model) - max(map(len, prompts))))
    ends = end_tokens(model)
    texts: list[list[int]] = [[] for _ in prompts]
    going, length = [*range(len(prompts))], 0
    while going and length < room:
        more = min(max(length, BEGUN), room - length)
        begun = [prompts[i] + texts[i] for i in going]
        for i, text in zip(going, _generated(model, begun, more, ends), strict=True):
            texts[i] += text
        going = [i for i in going if texts[i][-1] not in ends]
        length += more
    return [*zip(prompts, texts, strict=True)]


@torch.no_grad()
def _generated(
    model: "PreTrainedModel", prompts: Sequence[list[int]], count: int, ends: Sequence[int]
) -> list[list[int]]:
    """Return up to ``count`` next tokens of each prompt."""
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
    sequences = model.generate(
        ids,
        attention_mask=torch.tensor(attended, device=model.device),
        max_new_tokens=count,
        do_sample=False,
        pad_token_id=ends[0] if ends else 0,
        **past,
    )
    return [_until_end(text, ends) for text in sequences[:, longest:].tolist()]


def _until_end(text: list[int], ends: Sequence[int]) -> list[int]:
    stop = next((n for n, token in enumerate(text, 1) if token in ends), len(text))
    return text[:stop]
