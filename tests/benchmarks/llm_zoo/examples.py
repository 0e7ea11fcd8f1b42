"""One example of a task, and the split into training and test examples."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

TEST_SHARE = 8  # one source in eight is a test example


@dataclass(frozen=True)
class Example:
    """A question and its answer.

    Attributes:
        source: source text; its hash decides whether the example is for testing, for all tasks.
        question: the user's message.
        answer: the expected reply.
    """

    source: str
    question: str
    answer: str


def key(text: str) -> int:
    """Hash the letters and digits of ``text``, ignoring case."""
    letters = "".join(filter(str.isalnum, text.casefold()))
    return int.from_bytes(hashlib.sha256(letters.encode()).digest()[:8], "big")


def split(examples: Iterable[Example]) -> tuple[list[Example], list[Example]]:
    """Split by source into shuffled (training, test) examples; only the first of each question.

    Questions that differ only in case or punctuation count as equal.
    """
    first: dict[int, Example] = {}
    for example in examples:
        first.setdefault(key(example.question), example)
    # the order needs another hash than the one that chose the split
    ordered = sorted(first.values(), key=lambda example: key("order" + example.question))
    sides: tuple[list[Example], list[Example]] = [], []
    for example in ordered:
        sides[key(example.source) % TEST_SHARE == 0].append(example)
    return sides
