"""The zoo's test inputs, and exact match of an open bundle on them."""

from collections.abc import Sequence

from tqdm import tqdm

from ..evaluation import Evaluator
from ..runtime import Session
from . import BASE
from .tasks import TASKS, test_examples

TEST_INPUTS = 200
MAX_ANSWER = 96  # bytes; the longest answer has 70


def zoo_evaluator(count: int = TEST_INPUTS, tasks: Sequence[str] = TASKS) -> Evaluator:
    """The base model and the first ``count`` test inputs of every task."""
    return Evaluator.of(str(BASE), {task: test_examples(task, count) for task in tasks})


def bundle_exact_match(session: Session, count: int = TEST_INPUTS) -> dict[str, float]:
    """Exact match of every task of an open bundle, by greedy decoding through its program."""
    scores = {}
    for task in tqdm(session.tasks, desc="run .pte", disable=None, leave=False):
        session.switch(task)
        pairs = test_examples(task, count)
        hits = sum(session.generate(prompt, MAX_ANSWER) == answer for prompt, answer in pairs)
        scores[task] = hits / len(pairs)
    return scores
