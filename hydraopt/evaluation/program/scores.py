"""Scores of one run of a bundle's tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import mean

import torch
from tqdm import tqdm

from ...formats.models import CausalLm
from ...progress import steps
from ..generated import chrf
from .examples import Example, Examples, end_tokens
from .runs import Run

# measures; shares are in [0, 1]
TOKENS, NATS, EXACT, CHRF, ACCURACY = "tokens", "nats", "exact", "chrf", "accuracy"

Scores = Mapping[str, float]  # measure -> value


@dataclass(frozen=True)
class Scored:
    """Scores of all tasks.

    Attributes:
        tasks: task -> scores. A language model's are ``tokens``, the share of correct answer
            tokens, each predicted after the correct text; ``nats``, their mean negative
            log-likelihood; ``exact`` and ``chrf``, exact match and corpus chrF2 of greedy answers.
            A classifier has ``accuracy``. The first one is what tasks are compared by.
    """

    tasks: Mapping[str, Scores]

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures that all tasks have."""
        return tuple(next(iter(self.tasks.values())))

    @property
    def right(self) -> dict[str, float]:
        """Task -> share of correct tokens or, of a classifier, classes."""
        return {task: scores[self.measures[0]] for task, scores in self.tasks.items()}

    @property
    def means(self) -> dict[str, float]:
        """Each measure's mean over tasks."""
        return {x: mean(scores[x] for scores in self.tasks.values()) for x in self.measures}

    @property
    def worst(self) -> str:
        """The task with the smallest share of correct tokens or classes."""
        return min(self.right, key=self.right.__getitem__)


def score(run: Run, examples: Examples) -> Scored:
    """Score a run on the examples of every task."""
    manifest = run.session.manifest
    ends, generates = end_tokens(manifest), isinstance(manifest.model, CausalLm)
    count = sum(map(len, examples.values()))
    found: dict[str, Scores] = {}
    with steps("evaluate", total=count * (1 + generates)) as bar:
        for task, own in examples.items():
            run.switch(task)
            right, nats = _forced(run, own, ends, bar)
            found[task] = {ACCURACY: right}
            if generates:
                found[task] = {TOKENS: right, NATS: nats} | _generated(run, own, bar)
    return Scored(found)


def _forced(
    run: Run, examples: Sequence[Example], ends: Sequence[int], bar: tqdm
) -> tuple[float, float]:
    """Return the share of correct tokens and the nats per token."""
    right, nats = 0, 0.0
    for example in examples:
        hits, lost = judged(run.logits(example), example.answer, ends)
        right, nats = right + hits, nats + lost
        bar.update()
    tokens = sum(len(example.answer) for example in examples)
    return right / tokens, nats / tokens


def _generated(run: Run, examples: Sequence[Example], bar: tqdm) -> dict[str, float]:
    """Score greedy answers, which stop at the length of the longest answer of the task."""
    longest = max(len(example.answer) for example in examples)
    texts = []
    for text in run.texts([example.prompt for example in examples], longest):
        texts.append(text)
        bar.update()
    answers = [example.text for example in examples]
    hits = sum(text == answer for text, answer in zip(texts, answers, strict=True))
    exact = {EXACT: hits / len(texts)}
    return exact | {CHRF: chrf(texts, answers)} if has_chrf() else exact


def judged(logits: torch.Tensor, answer: Sequence[int], ends: Sequence[int]) -> tuple[int, float]:
    """Judge the prediction of an answer.

    A generation stops at any of the bundle's end tokens. Where the answer ends, each of them is
    right, and their likelihoods add up.

    Args:
        logits: logits that predict each token, float32 ``[n, vocabulary]``.
        answer: the n tokens.
        ends: tokens that end a text; the last token of ``answer`` is one of them if there are any.

    Returns:
        How many tokens are the most likely ones, and the negative log-likelihood of all, in nats.
    """
    wanted = torch.tensor(answer)
    chances = logits.double().log_softmax(-1)
    likely = chances.gather(1, wanted[:, None])[:, 0]
    right = logits.argmax(-1) == wanted
    if ends:
        likely[-1] = chances[-1, list(ends)].logsumexp(0)
        right[-1] = int(logits[-1].argmax()) in ends
    return int(right.sum()), -likely.sum().item()


def has_chrf() -> bool:
    """Return whether sacrebleu, an extra, is installed."""
    return find_spec("sacrebleu") is not None
