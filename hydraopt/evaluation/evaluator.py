"""Exact match of adapters on a base model, in PyTorch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from ..adapters import AdapterSet, Factors, operate, operated_layer
from ..merging import Merged
from ..training import Batch, Examples, batch, encode, load_model
from ..training.batches import IGNORE, Row
from .plain import PlainAdapters

BATCH_TOKENS = 16_384


class Scores(NamedTuple):
    """Shares in [0, 1]: of answers that are exactly right, and of their tokens, given the text
    before them.
    """

    exact: float
    tokens: float


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
        batches = {task: [*_batches(encode(tokenizer, pairs))] for task, pairs in examples.items()}
        return cls(model, batches)

    def unmerged(self, adapters: AdapterSet) -> dict[str, float]:
        """Exact match of every adapter as it was trained, task -> share in [0, 1]."""
        trained = {adapter.name: adapter.factors for adapter in adapters.adapters}
        return self._exact(adapters.tasks, trained.__getitem__)

    def merged(self, merged: Merged | PlainAdapters) -> dict[str, float]:
        """Exact match of every task of ``merged``, task -> share in [0, 1]."""
        return self._exact(merged.tasks, merged.task_factors)

    def _exact(
        self, tasks: Sequence[str], factors: Callable[[str], Mapping[str, Factors]]
    ) -> dict[str, float]:
        return {task: found.exact for task, found in self.scores(tasks, factors).items()}

    def scores(
        self, tasks: Sequence[str], factors: Callable[[str], Mapping[str, Factors]]
    ) -> dict[str, Scores]:
        """Scores of some tasks, each with the factors that ``factors`` gives for it."""
        found = {}
        for task in tqdm(tasks, desc="evaluate", disable=None, leave=False):
            with adapted(self.model, factors(task)):
                found[task] = score(self.model, self.batches[task])
        return found


@torch.inference_mode()
def score(model: torch.nn.Module, batches: Sequence[Batch]) -> Scores:
    """Scores of greedy decoding, computed in one teacher-forced pass.

    The arg max is right at every answer position exactly when greedy decoding emits that answer.
    """
    answers = tokens = answers_hit = tokens_hit = 0
    for ids, labels in batches:
        predicted = model(input_ids=ids, use_cache=False).logits[:, :-1].argmax(-1)
        wanted = labels[:, 1:]
        asked, right = wanted != IGNORE, predicted == wanted
        answers, answers_hit = answers + len(ids), answers_hit + int((right | ~asked).all(1).sum())
        tokens, tokens_hit = tokens + int(asked.sum()), tokens_hit + int((right & asked).sum())
    return Scores(answers_hit / answers, tokens_hit / tokens)


def exact_match(model: torch.nn.Module, batches: Sequence[Batch]) -> float:
    """Share of answers that greedy decoding reproduces exactly, in [0, 1]."""
    return score(model, batches).exact


@contextmanager
def adapted(model: torch.nn.Module, factors: Mapping[str, Factors]) -> Iterator[None]:
    """Add ``B @ A`` to the weights of ``model`` for the duration of the block; or operate."""
    before, handles = {}, []
    with torch.no_grad():
        for module, (a, b) in factors.items():
            if layer := operated_layer(module):
                hook = partial(_operate, a=a, b=b)
                handles.append(model.get_submodule(layer).register_forward_pre_hook(hook))
                continue
            weight = model.get_submodule(module).weight
            before[module] = weight.clone()
            weight.addmm_(b.to(weight), a.to(weight))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            for module, weight in before.items():
                model.get_submodule(module).weight.copy_(weight)


def _operate(
    _: torch.nn.Module, inputs: tuple[torch.Tensor], a: torch.Tensor, b: torch.Tensor
) -> torch.Tensor:
    return operate(inputs[0], a, b)


def _batches(rows: list[Row]) -> Iterator[Batch]:
    """Batches of rows of similar length, of at most ``BATCH_TOKENS`` with padding."""
    rows = sorted(rows, key=_length, reverse=True)
    while rows:
        count = max(1, BATCH_TOKENS // _length(rows[0]))
        yield batch(rows[:count])
        rows = rows[count:]


def _length(row: Row) -> int:
    return len(row[0]) + len(row[1])
