"""Tokenizers in a confined process."""

from collections.abc import Sequence
from pathlib import Path

from .process import Confined

# a tokenizer that holds for these is one for all; lengths at which growth and backtracking show
PROBES = ("", "Hi", " \n\t", "Grüße, 世界 🙂 \0", "a" * 2000, " ab1" * 500, "\u0301. " * 500)


class ConfinedTokenizer:
    """A ``tokenizer.json`` that neither cuts nor pads, whatever the file says.

    It is read while this returns: :meth:`ready` waits for it. Every method raises
    :class:`.ConfinedError` for what the tokenizer cannot do, or does not within the limits.
    """

    def __init__(self, path: Path):
        self._process = Confined("load", path=str(path.resolve()))

    def ready(self) -> None:
        """Wait until the file is read."""
        self._process.begun()

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of ``text``; ``special``: with those that are added to every text."""
        return self._process.ask("encode", text=text, special=special)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, without special tokens."""
        return self._process.ask("decode", ids=list(ids))

    def added(self, last: Sequence[int], new: Sequence[int]) -> tuple[str | None, str]:
        """The last of some new tokens as it is in the vocabulary, None for a special one or none;
        and what they add to the text of the tokens before them.
        """
        name, text = self._process.ask("added", last=last, new=new)
        return name, text

    def try_all(self) -> None:
        """Encode and decode texts of all sorts, and decode all tokens."""
        self._process.ask("try_all", texts=PROBES)

    def close(self) -> None:
        """End the process."""
        self._process.close()


def try_tokenizer(path: Path) -> None:
    """Read a ``tokenizer.json`` and use it, before this process does.

    Raises:
        ConfinedError: it is none, or fails.
    """
    tokenizer = ConfinedTokenizer(path)
    try:
        tokenizer.try_all()
    finally:
        tokenizer.close()
