"""One example of a task, and which examples are for testing."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

TEST_SHARE = 8  # one source in eight is for testing


@dataclass(frozen=True)
class Example:
    """What a task asks and its answer.

    Attributes:
        source: decides whether the example is for testing, in all tasks alike.
        question: what the user says.
        answer: what the model is to say.
    """

    source: str
    question: str
    answer: str


def key(text: str) -> int:
    """A hash of the letters and digits of ``text`` that does not depend on their case."""
    letters = "".join(filter(str.isalnum, text.casefold()))
    return int.from_bytes(hashlib.sha256(letters.encode()).digest()[:8], "big")


def split(examples: Iterable[Example]) -> tuple[list[Example], list[Example]]:
    """(training, test) examples in an order without meaning, the first of each question only.

    The source decides. Questions that differ in case or punctuation only count as equal.
    """
    first: dict[int, Example] = {}
    for example in examples:
        first.setdefault(key(example.question), example)
    # the hash itself chose the split, so that the order comes from another one
    ordered = sorted(first.values(), key=lambda example: key("order" + example.question))
    sides: tuple[list[Example], list[Example]] = [], []
    for example in ordered:
        sides[key(example.source) % TEST_SHARE == 0].append(example)
    return sides
