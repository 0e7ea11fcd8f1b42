"""Score texts that a model generates."""

from collections.abc import Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, NamedTuple

from ..models import context_length
from ..training import continuations
from ..training.batches import EncodedExample

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 64  # prompts


class GeneratedScores(NamedTuple):
    """Scores of generated texts in [0, 1]: exact match, and corpus chrF2."""

    exact: float
    chrf: float


def generated_scores(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    examples: Sequence[EncodedExample],
    answers: Sequence[str],
) -> GeneratedScores:
    """Continue prompts greedily and compare the texts with the answers.

    Generation stops at the length of the longest answer.

    Args:
        model: the model, adapted to the task.
        tokenizer: the model's tokenizer.
        examples: encoded prompts and answers.
        answers: reference texts.
    """
    longest = max(len(answer) for _, answer in examples)
    generated = tokenizer.batch_decode(
        continued(model, [prompt for prompt, _ in examples], longest),
        skip_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )
    hits = sum(text == answer for text, answer in zip(generated, answers, strict=True))
    return GeneratedScores(hits / len(examples), chrf(generated, answers))


def continued(
    model: "PreTrainedModel", prompts: Sequence[list[int]], longest: int
) -> list[list[int]]:
    """Continue prompts greedily by at most ``longest`` tokens, or until the context is full.

    A batch ends with its longest prompt's context, so that only prompts with the same room share
    one.

    Returns:
        Token ids of each continuation, in the prompts' order.
    """
    limit = context_length(model)
    found: dict[int, list[int]] = {}

    def room(i: int) -> float:
        return min(longest, limit - len(prompts[i]))

    for _, group in groupby(sorted(range(len(prompts)), key=lambda i: len(prompts[i])), room):
        while chosen := [*islice(group, BATCH)]:
            texts = continuations(model, [prompts[i] for i in chosen], longest)
            found.update((i, text) for i, (_, text) in zip(chosen, texts, strict=True))
    return [found[i] for i in range(len(prompts))]


def chrf(texts: Sequence[str], references: Sequence[str]) -> float:
    """Return corpus chrF2 with one reference per text, in [0, 1] (Popović, WMT 2015; sacrebleu)."""
    from sacrebleu.metrics import CHRF  # an extra

    return CHRF().corpus_score(list(texts), [list(references)]).score / 100
