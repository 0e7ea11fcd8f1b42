"""Evaluate methods and bundles on the zoo."""

from collections.abc import Sequence

from ..evaluation import Evaluator
from ..evaluation.points import Benchmark
from ..progress import progress
from ..runtime import Session
from . import BASE, load_adapters
from .tasks import TASKS, test_examples, training_examples

TEST_INPUTS = 200
# training examples per task: for calibration, and for methods that need data
PROMPTS, TRAINING = 256, 32
MAX_ANSWER = 96  # bytes; the longest answer has 70


def zoo_benchmark(inputs: int, training: int) -> Benchmark:
    """Return the zoo with ``inputs`` test inputs and ``training`` training examples per task."""
    return Benchmark(
        load_adapters(),
        str(BASE),
        {task: test_examples(task, inputs) for task in TASKS},
        {task: training_examples(task, training) for task in TASKS},
    )


def zoo_evaluator(count: int = TEST_INPUTS, tasks: Sequence[str] = TASKS) -> Evaluator:
    """Load an evaluator with the first ``count`` test inputs of every task."""
    return Evaluator.load(str(BASE), {task: test_examples(task, count) for task in tasks})


def bundle_exact_match(session: Session, count: int = TEST_INPUTS) -> dict[str, float]:
    """Return the exact match of every task of an open bundle, decoding greedily."""
    scores = {}
    for task in progress(session.tasks, "run .pte"):
        session.switch(task)
        pairs = test_examples(task, count)
        hits = sum(session.generate(prompt, MAX_ANSWER) == answer for prompt, answer in pairs)
        scores[task] = hits / len(pairs)
    return scores
