"""Load models and batch texts as tokens: right-padded, with labels on answers only."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch.nn.functional import cross_entropy

from ..confined import ConfinedError, catching_panics
from ..errors import DataError
from ..hooks import input_changed
from ..models import loading_base

if TYPE_CHECKING:  # transformers takes seconds to import
    from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

T = TypeVar("T")
IGNORE = -100
LEAST_SAVED = 128  # tokens; caching a shared prefix for fewer does not pay off

# tokens of a prompt and of its answer, including the end-of-text token if there is one
EncodedExample = tuple[list[int], list[int]]


class Batch(NamedTuple):
    """Right-padded ``ids`` and ``labels``, int64 ``[n, longest]``; only answers have labels."""

    ids: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return a copy on ``device``."""
        return Batch(self.ids.to(device), self.labels.to(device))


def load_model(base: str) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load a causal LM in float32 and its tokenizer, from a directory or hub id.

    Raises:
        DataError: the model or the tokenizer cannot be loaded.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    from ..bases.config import base_config
    from ..bases.tokenizer import load_tokenizer
    from ..bases.weights import load_whole

    transformers_logging.disable_progress_bar()
    with loading_base(base, DataError):
        model = load_whole(AutoModelForCausalLM, base, base_config(base))
        return model, load_tokenizer(base)


def encode(
    tokenizer: "PreTrainedTokenizerBase", pairs: Iterable[tuple[str, str]]
) -> list[EncodedExample]:
    """Tokenise (prompt, answer) pairs.

    Raises:
        DataError: the tokenizer fails on a pair.
    """
    ending = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    try:
        with catching_panics():
            return [
                (
                    tokenizer(prompt).input_ids,
                    tokenizer(answer, add_special_tokens=False).input_ids + ending,
                )
                for prompt, answer in pairs
            ]
    except ConfinedError as error:
        raise DataError(
            f"the base's tokenizer fails on a prompt or an answer ({error}); correct the data, or "
            "use the base as published"
        ) from None


def length(example: EncodedExample) -> int:
    """Return the number of an example's tokens."""
    prompt, answer = example
    return len(prompt) + len(answer)


def batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield ``size`` items at a time; the last may be fewer."""
    return (items[start : start + size] for start in range(0, len(items), size))


def batch(examples: Sequence[EncodedExample]) -> Batch:
    """Pad examples to the longest and stack them."""
    longest = max(map(length, examples))
    # a causal model ignores padding on the right
    ids = torch.zeros(len(examples), longest, dtype=torch.int64)
    labels = torch.full_like(ids, IGNORE)
    for i, (prompt, answer) in enumerate(examples):
        end = len(prompt) + len(answer)
        ids[i, :end] = torch.tensor(prompt + answer)
        labels[i, len(prompt) : end] = torch.tensor(answer)
    return Batch(ids, labels)


def answer_logits(model: torch.nn.Module, texts: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float32 logits ``[n, vocabulary]`` of all n answer tokens, and these tokens ``[n]``.

    The output embedding, a large part of a small model, runs only at these positions. A prefix that
    all texts share, such as a system message, is computed once.
    """
    shared = shared_prefix(texts)
    if shared * (len(texts.ids) - 1) < LEAST_SAVED:
        shared = 0
    ids, labels = texts.ids[:, shared:], texts.labels[:, shared + 1 :]
    asked = labels != IGNORE

    past = {"cache": prefix_cache(model, texts.ids[0, :shared], len(ids))} if shared else {}
    with input_changed(model.get_output_embeddings(), lambda x: x[:, :-1][asked][None]):
        logits = model(input_ids=ids, use_cache=bool(past), **past).logits[0]
    return logits.float(), labels[asked]


def shared_prefix(texts: Batch) -> int:
    """Return the length of the common prefix, short of the last token before any answer."""
    prompts = (texts.labels == IGNORE).all(0)
    equal = (texts.ids == texts.ids[:1]).all(0) & prompts
    before = int(prompts.cumprod(0).sum())
    return min(int(equal.cumprod(0).sum()), before - 1)


def prefix_cache(model: "PreTrainedModel", prefix: torch.Tensor, count: int) -> "DynamicCache":
    """Compute keys and values of a prefix, int64 ``[tokens]``; repeat them ``count`` times."""
    from transformers import DynamicCache

    past = DynamicCache(config=model.config)
    model(input_ids=prefix[None], cache=past, logits_to_keep=1)
    past.batch_repeat_interleave(count)
    return past


def answer_loss(model: torch.nn.Module, texts: Batch) -> torch.Tensor:
    """Return the mean cross entropy of the answer tokens, a scalar in nats."""
    logits, wanted = answer_logits(model, texts)
    return cross_entropy(logits, wanted)
