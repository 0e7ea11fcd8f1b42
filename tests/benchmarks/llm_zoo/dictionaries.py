"""Read translations of English words from FreeDict's dictionaries in dictd format."""

import gzip
import re
import string
from collections.abc import Iterator
from pathlib import Path

from .examples import Example

DIGITS = {
    letter: value
    for value, letter in enumerate(
        string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    )
}
WORD = re.compile(r"[a-z][a-z -]+")
NOTE = re.compile(r"^\d+\.\s*|<[^>]*>|\[[^]]*\]")


def packages(codes: tuple[str, ...]) -> tuple[str, ...]:
    """Debian packages of the dictionaries from English to some ISO 639-3 languages."""
    return tuple(f"dict-freedict-eng-{code}" for code in codes)


def words(root: Path, code: str) -> Iterator[Example]:
    """English words and the first translation that the dictionary gives."""
    stem = root / "usr/share/dictd" / f"freedict-eng-{code}"
    with gzip.open(stem.with_suffix(".dict.dz")) as file:
        text = file.read()
    index = stem.with_suffix(".index").read_text(encoding="utf-8")
    for line in index.splitlines():
        word, start, length = line.split("\t")[:3]
        if not WORD.fullmatch(word):
            continue  # facts about the dictionary, or a name
        first = number(start)
        answer = translation(text[first : first + number(length)].decode())
        if answer and answer != word:
            yield Example(word, word, answer)


def number(digits: str) -> int:
    """An integer as dictd writes it: in base 64, the most significant digit first."""
    value = 0
    for digit in digits:
        value = 64 * value + DIGITS[digit]
    return value


def translation(entry: str) -> str:
    """The first translation of an entry, without notes; empty if there is none that is plain."""
    lines = entry.strip().splitlines()
    if len(lines) < 2:
        return ""
    found = re.split(r"[,;]", NOTE.sub("", lines[1].strip()))[0].strip()
    return found.replace("‐", "-") if re.fullmatch(r"[\w '’‐-]+", found) else ""
