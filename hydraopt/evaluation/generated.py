"""Score texts that a model generates."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

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
    """Return corpus chrF2 with one reference per text, in [0, 1] (Popović, WMT 2015; sacrebleu)."""
    from sacrebleu.metrics import CHRF  # an extra

    return CHRF().corpus_score(list(texts), [list(references)]).score / 100
