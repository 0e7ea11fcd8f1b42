"""Read English nouns from WordNet's database files (formats: its wndb(5) manual)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .examples import Example

PACKAGE = "wordnet-base"
FIRST_FILE = 3  # number of the first of the lexicographers' files of nouns
FILES = (
    *("other", "act", "animal", "artifact", "attribute", "body", "cognition", "communication"),
    *("event", "feeling", "food", "group", "location", "motive", "object", "person"),
    *("phenomenon", "plant", "possession", "process", "quantity", "relation", "shape", "state"),
    *("substance", "time"),
)


@dataclass(frozen=True)
class Noun:
    """The first sense of a word, and the first word of that sense.

    Attributes:
        word: the noun.
        synonym: another word of the sense; empty if there is none.
        category: topic of the file that WordNet's authors wrote it in.
        definition: without examples.
    """

    word: str
    synonym: str
    category: str
    definition: str


def nouns(root: Path) -> list[Noun]:
    """All nouns, one per sense."""
    directory = root / "usr/share/wordnet"
    lines = _lines(directory / "data.noun")
    first = {line.split()[0]: _first_sense(line) for line in _lines(directory / "index.noun")}
    found = [_noun(line) for line in lines]
    return [
        noun
        for line, noun in zip(lines, found, strict=True)
        if first.get(noun.word.replace(" ", "_")) == line.split(" ", 1)[0]
    ]


def _lines(path: Path) -> list[str]:
    """Those of data: the licence's lines begin with a space."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith(" ")]


def _first_sense(line: str) -> str:
    """Of ``lemma pos count pointers [kinds] count tagged offset...``, the first offset."""
    fields = line.split()
    return fields[6 + int(fields[3])]


def _noun(line: str) -> Noun:
    data, _, gloss = line.partition(" | ")
    fields = data.split(" ")
    written = _words(fields)
    return Noun(
        written[0],
        written[1] if len(written) > 1 else "",
        FILES[int(fields[1]) - FIRST_FILE],
        gloss.split(";")[0].strip(),
    )


def _words(fields: list[str]) -> list[str]:
    """The words of ``offset file n count word id word id ...``; the count is hexadecimal."""
    return [word.replace("_", " ") for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]]


QUESTIONS: Mapping[str, Callable[[Noun], tuple[str, str]]] = {
    "word": lambda noun: (noun.definition, noun.word),
    "define": lambda noun: (noun.word, noun.definition),
    "synonym": lambda noun: (noun.word, noun.synonym),
    "category": lambda noun: (noun.definition, noun.category),
}


def questions(found: list[Noun], application: str) -> Iterator[Example]:
    """Examples of one of ``QUESTIONS``; names of persons and places are left out."""
    for noun in found:
        question, answer = QUESTIONS[application](noun)
        if question and answer and noun.word.islower():
            yield Example(noun.word, question, answer)
