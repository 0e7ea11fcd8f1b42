"""Zoo examples whose prompts name the language, so that one model can serve many tasks.

Prompts look like "de money 5.00 EUR=", as in the base model's corpus.
"""

import random
from itertools import islice

from hydraopt.zoo.tasks import APPLICATIONS, LANGUAGES, examples, test_examples


def first_tasks(count: int) -> list[str]:
    """``count`` of the zoo's 40 tasks; every five are of different applications and languages."""
    return [
        f"{application}-{LANGUAGES[(first + shift) % len(LANGUAGES)]}"
        for first in range(len(LANGUAGES))
        for shift, application in enumerate(APPLICATIONS)
    ][:count]


def tagged_training(task: str, count: int) -> list[tuple[str, str]]:
    """Training examples of a task."""
    application, language = task.split("-")
    pairs = examples(application, language, random.Random(task), tag=_tag(task))
    return list(islice(pairs, count))


def tagged_tests(task: str, count: int) -> list[tuple[str, str]]:
    """Test examples of a task."""
    return [(_tag(task) + prompt, answer) for prompt, answer in test_examples(task, count)]


def _tag(task: str) -> str:
    return f"{task.split('-')[1]} "
