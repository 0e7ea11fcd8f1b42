"""Tokenizers in a confined process."""

from collections.abc import Sequence
from pathlib import Path

from .process import Confined

# texts of many kinds, long enough to expose exponential growth and backtracking
PROBES = ("", "Hi", " \n\t", "Grüße, 世界 🙂 \0", "a" * 2000, " ab1" * 500, "\u0301. " * 500)


class ConfinedTokenizer:
    """A ``tokenizer.json`` in a confined process, without truncation and padding.

    The constructor does not wait for the file to be read; :meth:`ready` does. Every method raises
    :class:`.ConfinedError` if the tokenizer fails or exceeds the limits.
    """

    def __init__(self, path: Path):
        self._process = Confined("load", path=str(path.resolve()))

    def ready(self) -> None:
        """Wait until the file is read."""
        self._process.begun()

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Return the token ids of ``text``; ``special``: with the tokens added to every text."""
        return self._process.ask("encode", text=text, special=special)

    def encode_turns(self, pieces: Sequence[str]) -> list[int]:
        """Return the ids of a text in pieces, a chat template's and those of turns alternately.

        Special tokens are those of the template alone; none is added.
        """
        return self._process.ask("encode_turns", pieces=list(pieces))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens."""
        return self._process.ask("decode", ids=list(ids))

    def added(self, last: Sequence[int], new: Sequence[int]) -> tuple[str | None, str]:
        """Return what new tokens add to a text.

        Args:
            last: ids before the new ones.
            new: new ids.

        Returns:
            The vocabulary entry of the last new token (None if it is special or unknown), and the
            text that the new tokens append.
        """
        name, text = self._process.ask("added", last=last, new=new)
        return name, text

    def try_all(self) -> None:
        """Encode and decode the probe texts, and decode all tokens."""
        self._process.ask("try_all", texts=PROBES)

    def close(self) -> None:
        """End the process."""
        self._process.close()


def try_tokenizer(path: Path) -> None:
    """Load and exercise a ``tokenizer.json`` in a confined process.

    Raises:
        ConfinedError: it cannot be read, fails, or exceeds the limits.
    """
    tokenizer = ConfinedTokenizer(path)
    try:
        tokenizer.try_all()
    finally:
        tokenizer.close()
