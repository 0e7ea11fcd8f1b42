"""Exact match of adapters on a base model, in PyTorch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from tqdm import tqdm
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from ..adapters import AdapterSet, Factors
from ..errors import DataError
from ..merging import MergedAdapters
from ..packing import CodedAdapters
from .examples import Examples

IGNORE = -100
BATCH_TOKENS = 16_384


class Batch(NamedTuple):
    """Right-padded ``ids`` and ``labels``, int64 ``[n, longest]``; labels are of answers only."""

    ids: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Evaluator:
    """A base model and every task's examples, ready to score adapters."""

    model: PreTrainedModel
    batches: Mapping[str, Sequence[Batch]]

    @classmethod
    def of(cls, base: str, examples: Examples) -> "Evaluator":
        """Load ``base``, a directory or a hub id, and tokenise the examples.

        Raises:
            DataError: the base or its tokenizer cannot be loaded.
        """
        model, tokenizer = load_model(base)
        batches = {
            task: [*_batches([_tokens(tokenizer, *pair) for pair in pairs])]
            for task, pairs in examples.items()
        }
        return cls(model, batches)

    def unmerged(self, adapters: AdapterSet) -> dict[str, float]:
        """Exact match of every adapter as it was trained, task -> share in [0, 1]."""
        return self._scores({adapter.name: adapter.factors for adapter in adapters.adapters})

    def merged(self, merged: MergedAdapters | CodedAdapters) -> dict[str, float]:
        """Exact match of every task of ``merged``, task -> share in [0, 1]."""
        scores = {}
        for task in tqdm(merged.tasks, desc="evaluate", disable=None, leave=False):
            scores |= self._scores({task: merged.task_factors(task)})
        return scores

    def _scores(self, tasks: Mapping[str, Mapping[str, Factors]]) -> dict[str, float]:
        scores = {}
        for task, factors in tasks.items():
            with adapted(self.model, factors):
                scores[task] = exact_match(self.model, self.batches[task])
        return scores


def load_model(base: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal LM in float32 and its tokenizer, from a directory or a hub id.

    Raises:
        DataError: one of them cannot be loaded.
    """
    transformers_logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
        return model, AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"cannot load base model {base!r} ({reason})") from error


@torch.inference_mode()
def exact_match(model: torch.nn.Module, batches: Sequence[Batch]) -> float:
    """Share of answers that greedy decoding reproduces exactly, in [0, 1].

    Computed in one teacher-forced pass: the arg max is right at every answer position exactly
    when greedy decoding emits that answer.
    """
    hits = 0
    for ids, labels in batches:
        predicted = model(input_ids=ids, use_cache=False).logits[:, :-1].argmax(-1)
        wanted = labels[:, 1:]
        hits += int(((predicted == wanted) | (wanted == IGNORE)).all(1).sum())
    return hits / sum(len(batch.ids) for batch in batches)


@contextmanager
def adapted(model: torch.nn.Module, factors: Mapping[str, Factors]) -> Iterator[None]:
    """Add ``B @ A`` to the weights of ``model`` for the duration of the block."""
    before = {}
    with torch.no_grad():
        for module, (a, b) in factors.items():
            weight = model.get_submodule(module).weight
            before[module] = weight.clone()
            weight.addmm_(b, a)
    try:
        yield
    finally:
        with torch.no_grad():
            for module, weight in before.items():
                model.get_submodule(module).weight.copy_(weight)


def _tokens(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str
) -> tuple[list[int], list[int]]:
    ending = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return (
        tokenizer(prompt).input_ids,
        tokenizer(answer, add_special_tokens=False).input_ids + ending,
    )


def _batches(rows: list[tuple[list[int], list[int]]]) -> Iterator[Batch]:
    """Batches of rows of similar length, of at most ``BATCH_TOKENS`` with padding."""
    rows = sorted(rows, key=_length, reverse=True)
    while rows:
        count = max(1, BATCH_TOKENS // _length(rows[0]))
        yield _batch(rows[:count])
        rows = rows[count:]


def _length(row: tuple[list[int], list[int]]) -> int:
    return len(row[0]) + len(row[1])


def _batch(rows: list[tuple[list[int], list[int]]]) -> Batch:
    longest = max(map(_length, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)  # causal: padding on the right is free
    labels = torch.full_like(ids, IGNORE)
    for i, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        ids[i, :end] = torch.tensor(prompt + answer)
        labels[i, len(prompt) : end] = torch.tensor(answer)
    return Batch(ids, labels)
