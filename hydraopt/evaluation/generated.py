"""Scores of what a model writes by itself, without the right answer before it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..training import continuations
from ..training.batches import EncodedExample

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 64  # prompts continued at a time


class GeneratedScores(NamedTuple):
    """In [0, 1]: the share of generated texts that are the answer, and chrF2 of all of them."""

    exact: float
    chrf: float


def generated_scores(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    examples: Sequence[EncodedExample],
    answers: Sequence[str],
) -> GeneratedScores:
    """Continue prompts greedily and compare the texts with the answers.

    A text is cut where the longest answer's tokens end.

    Args:
        model: generates, adapted to the task.
        tokenizer: the model's.
        examples: tokens of the prompts and answers.
        answers: the right texts.
    """
    longest = max(len(answer) for _, answer in examples)
    order = sorted(range(len(examples)), key=lambda i: len(examples[i][0]))
    texts: dict[int, str] = {}
    for first in range(0, len(examples), BATCH):
        chosen = order[first : first + BATCH]
        continued = continuations(model, [examples[i][0] for i in chosen], longest)
        written = tokenizer.batch_decode(
            [text for _, text in continued],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        texts.update(zip(chosen, written, strict=True))
    generated = [texts[i] for i in range(len(examples))]
    hits = sum(text == answer for text, answer in zip(generated, answers, strict=True))
    return GeneratedScores(hits / len(examples), chrf(generated, answers))


def chrf(texts: Sequence[str], references: Sequence[str]) -> float:
    """chrF2 of texts against one reference each, in [0, 1] (Popović, WMT 2015; sacrebleu)."""
    from sacrebleu.metrics import CHRF  # an extra

    return CHRF().corpus_score(list(texts), [list(references)]).score / 100
