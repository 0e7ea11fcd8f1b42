"""Scores of adapters on a base model, in PyTorch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..adapters import AdapterSet, check_task_type
from ..errors import DataError
from ..factors import Factors, Places, Role, Target, add_delta, apply_surgery, placed
from ..fitting import check_fit, layer_names, places_in_causal_lm
from ..formats.models import CAUSAL_LM
from ..hooks import input_changed
from ..progress import progress
from ..stored import StoredAdapters
from ..training import Batch, Examples, answer_logits, batch, encode, load_model, pick_device
from ..training.batches import IGNORE, EncodedExample, length
from .generated import GeneratedScores, generated_scores
from .plain import PlainAdapters

BATCH_TOKENS = 16_384

T = TypeVar("T")
TaskFactors = Callable[[str], Mapping[str, Factors]]


class Scores(NamedTuple):
    """Teacher-forced scores: each token is predicted after the correct text.

    Attributes:
        exact: share of answers predicted exactly, in [0, 1].
        tokens: share of correct answer tokens, in [0, 1].
        nats: mean negative log-likelihood of the answer tokens.
    """

    exact: float
    tokens: float
    nats: float


class AllScores(NamedTuple):
    """Teacher-forced scores, and scores of generated texts."""

    forced: Scores
    generated: GeneratedScores


@dataclass(frozen=True)
class Evaluator:
    """A base model and encoded examples of every task, to score adapters with."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    examples: Examples
    batches: Mapping[str, Sequence[Batch]]
    bfloat16: bool = False

    @classmethod
    def load(cls, base: str, examples: Examples, *, bfloat16: bool = False) -> "Evaluator":
        """Load ``base`` from a directory or hub id and tokenise the examples.

        The model is moved to the GPU if there is one. With ``bfloat16`` it multiplies matrices in
        that precision.

        Raises:
            DataError: the base or its tokenizer cannot be loaded.
        """
        model, tokenizer = load_model(base)
        batches = {task: [*_batches(encode(tokenizer, pairs))] for task, pairs in examples.items()}
        return cls(model.to(pick_device()), tokenizer, examples, batches, bfloat16)

    def places(self, adapters: AdapterSet) -> Places:
        """Locate the adapters' modules in the model, see :func:`.fitting.places`.

        Raises:
            DataError: the base does not fit the adapters.
        """
        return places_in_causal_lm(self.model, adapters)

    def unmerged(self, adapters: AdapterSet) -> dict[str, float]:
        """Return the exact match of every unmerged adapter, task -> share in [0, 1].

        Raises:
            DataError: the adapters were trained on another base, or for another kind of base.
        """
        check_task_type(adapters.task_type, CAUSAL_LM, DataError)
        check_fit(self.model, adapters, DataError)
        trained = {adapter.name: adapter.factors for adapter in adapters.adapters}
        return self._exact(adapters.tasks, trained.__getitem__)

    def merged(self, merged: StoredAdapters | PlainAdapters) -> dict[str, float]:
        """Return the exact match of every task of ``merged``, task -> share in [0, 1]."""
        return self._exact(merged.tasks, merged.task_factors)

    def _exact(self, tasks: Sequence[str], factors: TaskFactors) -> dict[str, float]:
        return {task: scores.exact for task, scores in self.scores(tasks, factors).items()}

    def scores(self, tasks: Sequence[str], factors: TaskFactors) -> dict[str, Scores]:
        """Return teacher-forced scores of some tasks, each with ``factors(task)``."""
        return self._each(tasks, factors, self._forced)

    def all_scores(self, tasks: Sequence[str], factors: TaskFactors) -> dict[str, AllScores]:
        """Also score generated texts, which about doubles the time."""
        return self._each(
            tasks, factors, lambda task: AllScores(self._forced(task), self._generated(task))
        )

    def _each(
        self, tasks: Sequence[str], factors: TaskFactors, measure: Callable[[str], T]
    ) -> dict[str, T]:
        scores = {}
        device = self.model.device.type
        for task in progress(tasks, "evaluate"):
            with (
                adapted(self.model, factors(task)),
                torch.autocast(device, torch.bfloat16, enabled=self.bfloat16),
            ):
                scores[task] = measure(task)
        return scores

    def _forced(self, task: str) -> Scores:
        return score(self.model, self.batches[task])

    def _generated(self, task: str) -> GeneratedScores:
        answers = [answer for _, answer in self.examples[task]]
        encoded = encode(self.tokenizer, self.examples[task])
        return generated_scores(self.model, self.tokenizer, encoded, answers)


@torch.inference_mode()
def score(model: torch.nn.Module, batches: Sequence[Batch]) -> Scores:
    """Score greedy decoding in one teacher-forced pass.

    The arg max is correct at every answer position exactly when greedy decoding emits the answer.
    """
    answers = tokens = answers_hit = tokens_hit = nats = 0
    for texts in batches:
        texts = texts.to(model.device)  # noqa: PLW2901
        logits, wanted = answer_logits(model, texts)
        text = (texts.labels[:, 1:] != IGNORE).nonzero()[:, 0]  # text of each token
        right = logits.argmax(-1) == wanted
        answers += len(texts.ids)
        answers_hit += len(texts.ids) - len(text[~right].unique())
        tokens, tokens_hit = tokens + len(wanted), tokens_hit + int(right.sum())
        nats += cross_entropy(logits, wanted, reduction="sum").item()
    return Scores(answers_hit / answers, tokens_hit / tokens, nats / tokens)


def exact_match(model: torch.nn.Module, batches: Sequence[Batch]) -> float:
    """Return the share of answers that greedy decoding reproduces exactly, in [0, 1]."""
    return score(model, batches).exact


@contextmanager
def adapted(model: torch.nn.Module, factors: Mapping[str, Factors]) -> Iterator[None]:
    """Add ``B @ A`` to weights of ``model``, and apply surgery, while the block runs."""
    before = {}
    with ExitStack() as stack:
        for module, update in placed(factors, layer_names(model, factors)).items():
            target = Target.parse(module)
            if target.role is Role.SURGERY:
                layer = model.get_submodule(target.layer)
                stack.enter_context(input_changed(layer, partial(_corrected, update)))
                continue
            weight = model.get_submodule(module).weight
            before[module] = weight.detach().clone()
            add_delta(weight, update)
        try:
            yield
        finally:
            with torch.no_grad():
                for module, weight in before.items():
                    model.get_submodule(module).weight.copy_(weight)


def _corrected(factors: Factors, y: torch.Tensor) -> torch.Tensor:
    return apply_surgery(y, factors.a.to(y), factors.b.to(y))


def _batches(examples: list[EncodedExample]) -> Iterator[Batch]:
    """Yield batches of similar length with at most ``BATCH_TOKENS`` tokens, padding included."""
    examples = sorted(examples, key=length, reverse=True)
    while examples:
        count = max(1, BATCH_TOKENS // length(examples[0]))
        yield batch(examples[:count])
        examples = examples[count:]
