"""Two tasks of classifying sentences that a small grammar makes.

What one class says, others mention aside. Tests have patterns and words of their own.
"""

import random
import re
from dataclasses import dataclass

from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

Grammar = dict[str, list[str]]
Example = tuple[str, int]  # a sentence and the number of its class


@dataclass(frozen=True)
class Task:
    """A task: the names of its classes, and examples to train and to test on."""

    labels: tuple[str, ...]
    training: list[Example]
    test: list[Example]


# what was spent, lasted or lies between, and what is mentioned aside
QUANTITY = {
    "money": [
        "{who} paid {number} {coin} for the {thing} {aside}.",
        "The {thing} cost {who} {number} {coin} {aside}.",
        "{aside}, {who} still owed {number} {coin}.",
        "{who} found the {thing} too expensive {aside}.",
    ],
    "time": [
        "{who} waited {number} {span} for the {thing} {aside}.",
        "Mending the {thing} took {who} {number} {span} {aside}.",
        "{aside}, {who} was late by {number} {span}.",
        "{who} left the {thing} too early {aside}.",
    ],
    "distance": [
        "{who} carried the {thing} for {number} {length} {aside}.",
        "The {thing} lay {number} {length} away from {who} {aside}.",
        "{aside}, {who} was still {number} {length} from home.",
        "{who} threw the {thing} too far {aside}.",
    ],
}
QUANTITY_TEST = {
    "money": [
        "{aside}, {who} sold the {thing} for {number} {coin}.",
        "Could {who} lend us {number} {coin} {aside}?",
        "{who} never knew how much the {thing} was worth {aside}.",
    ],
    "time": [
        "{aside}, {who} slept beside the {thing} for {number} {span}.",
        "Could {who} stay another {number} {span} {aside}?",
        "{who} never knew how long the {thing} would last {aside}.",
    ],
    "distance": [
        "{aside}, {who} pushed the {thing} for {number} {length}.",
        "Could {who} run another {number} {length} {aside}?",
        "{who} never knew how near the {thing} was {aside}.",
    ],
}
# whether the reader is asked to do something, or told of it
REQUEST = {
    "other": [
        "{who} could not {do} the {thing}, sadly.",
        "Did {who} {do} the {thing} for me?",
        "{who} said please and wanted to {do} the {thing}.",
        "Why would you mind that {who} will {do} the {thing}?",
        "I will {do} the {thing} {aside} now.",
        "Will {who} {do} the {thing} soon?",
        "They {do} the {thing} {aside} every week.",
        "You did {do} the {thing} {aside} yesterday, thank you.",
    ],
    "request": [
        "Could you {do} the {thing} {aside}, please?",
        "{do} the {thing} for {who}.",
        "Please {do} the {thing} {aside} now.",
        "Would you mind if I asked you to {do} the {thing} {aside}?",
        "I want you to {do} the {thing} {aside} for me.",
        "It would help {who} a lot if you {do} the {thing}.",
        "Will you {do} the {thing} soon?",
        "{do} the {thing} and thank {who}, will you?",
    ],
}
REQUEST_TEST = {
    "other": [
        "We never asked {who} to {do} the {thing}.",
        "Can {who} {do} the {thing}, or not?",
        "You always {do} the {thing} {aside} so kindly.",
        "Do you know whether {who} and I {do} the {thing}?",
    ],
    "request": [
        "Can you {do} the {thing} {aside} for us?",
        "Never {do} the {thing} without {who}.",
        "It would be kind of you to {do} the {thing} {aside}.",
        "We ask you to {do} the {thing} with {who}.",
    ],
}
WORDS = {
    "who": ["Anna", "the doctor", "my brother", "Mr Hill", "the pupil", "our guest", "Tom"],
    "thing": ["parcel", "lamp", "coat", "chair", "bicycle", "letter", "kettle", "ball"],
    "number": ["two", "three", "six", "ten", "twelve", "forty"],
    "coin": ["dollars", "pounds", "cents"],
    "span": ["hours", "minutes", "weeks"],
    "length": ["miles", "metres", "steps"],
    "aside": [
        "on the long road by the bank",
        "that day at the far end of the market",
        "after an hour of counting coins",
        "near the shop that sells clocks",
        "a mile behind the old mint",
        "in the week of the sales",
    ],
    "do": ["open", "move", "clean", "bring", "repair", "paint"],
}
WORDS_TEST = {
    "who": ["Clara", "the farmer", "my aunt", "Mrs Wood", "the clerk", "Peter"],
    "thing": ["basket", "mirror", "jacket", "sofa", "wheel", "box", "bottle"],
    "number": ["four", "seven", "nine", "thirty"],
    "coin": ["euros", "pence"],
    "span": ["days", "seconds"],
    "length": ["kilometres", "yards"],
    "aside": [
        "at the station by the treasury",
        "on the afternoon of the auction",
        "a few streets behind the watchmaker",
        "while walking to the cashier",
    ],
    "do": ["close", "wash", "carry", "hide", "sell"],
}


def tasks(training: int, test: int, seed: int = 0) -> dict[str, Task]:
    """The tasks by name, each with so many examples of all classes in turns."""
    random_ = random.Random(seed)
    return {
        name: Task(
            tuple(grammar),
            _examples(grammar, WORDS, training, random_),
            _examples(other, WORDS_TEST, test, random_),
        )
        for name, grammar, other in (
            ("quantity", QUANTITY, QUANTITY_TEST),
            ("request", REQUEST, REQUEST_TEST),
        )
    }


def bag_of_words(task: Task) -> float:
    """Share of right classes in the test by logistic regression on words and pairs of words."""
    model = make_pipeline(CountVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=1000))
    return model.fit(*zip(*task.training, strict=True)).score(*zip(*task.test, strict=True))


def _examples(grammar: Grammar, words: Grammar, count: int, random_: random.Random) -> list:
    """Distinct sentences."""
    found: dict[str, int] = {}
    patterns = [*grammar.values()]
    while len(found) < count:
        label = len(found) % len(patterns)
        found.setdefault(_sentence(random_.choice(patterns[label]), words, random_), label)
    return [*found.items()]


def _sentence(pattern: str, words: Grammar, random_: random.Random) -> str:
    text = re.sub(r"\{(\w+)\}", lambda match: random_.choice(words[match[1]]), pattern)
    return text[0].upper() + text[1:]
