"""The tasks: instructions for the model, and sources of examples."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from hydraopt.zoo.tasks import APPLICATIONS

from . import catalogues, dictionaries, wordnet
from .examples import Example

DRAWS = 12_000  # of a task whose inputs are drawn at random
DICTIONARIES = {
    "fr": ("fra", "French"),
    "pt": ("por", "Portuguese"),
}
PACKAGES = (
    *catalogues.PACKAGES,
    *dictionaries.packages(tuple(code for code, _ in DICTIONARIES.values())),
    wordnet.PACKAGE,
)


@dataclass(frozen=True)
class Task:
    """A task's instruction, and its examples from the directory of the packages' files."""

    instruction: str
    examples: Callable[[Path], Iterable[Example]]


def _drawn(application: str, language: str, _: Path) -> Iterator[Example]:
    """Inputs of the bundled zoo's tasks: dates and numbers as CLDR writes them."""
    rng = random.Random(f"{application} {language}")
    for _draw in range(DRAWS):
        question, answer = APPLICATIONS[application](rng, language)
        yield Example(question, question, answer)


@cache
def _nouns(root: Path) -> list[wordnet.Noun]:
    return wordnet.nouns(root)


def _wordnet(application: str, root: Path) -> Iterator[Example]:
    return wordnet.questions(_nouns(root), application)


TASKS: Mapping[str, Task] = {
    **{
        f"ui-{name[:2]}": Task(
            f"Translate to {language}.", partial(catalogues.translations, locale=name)
        )
        for name, language in (
            ("de", "German"),
            ("es", "Spanish"),
            ("fr", "French"),
            ("it", "Italian"),
            ("nl", "Dutch"),
            ("pl", "Polish"),
            ("pt_BR", "Portuguese"),
            ("sv", "Swedish"),
        )
    },
    **{
        f"dictionary-{name}": Task(
            f"Give the {language} word.", partial(dictionaries.words, code=code)
        )
        for name, (code, language) in DICTIONARIES.items()
    },
    **{
        f"{application}-en": Task(instruction, partial(_wordnet, application))
        for application, instruction in (
            ("word", "Name what is defined."),
            ("define", "Define the word."),
            ("synonym", "Give a synonym."),
            ("category", "Name the topic."),
        )
    },
    **{
        f"{application}-{name}": Task(instruction, partial(_drawn, application, name))
        for application, name, instruction in (
            ("date", "de", "Write the date in German."),
            ("words", "fr", "Write the number in French words."),
        )
    },
}
