"""Texts to token ids and back, by a bundle's tokenizer."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from ..errors import BundleError, TaskError
from ..formats.manifest import TOKENIZER, Manifest

BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")  # a token where a vocabulary falls back to bytes


class BundleTokenizer:
    """The tokenizer of a bundle, with the chat template that its manifest holds."""

    def __init__(self, bundle: Path, manifest: Manifest):
        self._bundle = bundle
        self._chat = manifest.chat
        self._tokenizer = _read(bundle / TOKENIZER)
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = {token for token, content in added.items() if content.special}

    @classmethod
    def of(cls, bundle: Path, manifest: Manifest) -> "BundleTokenizer | None":
        """That of a bundle; None if it has none.

        Raises:
            BundleError: a file that is no tokenizer.
        """
        return cls(bundle, manifest) if TOKENIZER in manifest.files else None

    def encode(self, text: str, *, chat: bool = False) -> list[int]:
        """Token ids of ``text``, or with ``chat`` of a prompt that asks it as one user turn.

        Raises:
            TaskError: text that is no UTF-8, or no chat template.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TaskError(
                f"the prompt is no UTF-8 at character {error.start:,}; correct it"
            ) from None
        if not chat:
            return self._tokenizer.encode(text).ids
        if self._chat is None:
            raise TaskError(
                f"{self._bundle} has no chat template, as its base model's tokenizer has none that "
                "is a prefix and a suffix of one message; pass the whole prompt without chat"
            )
        return self._tokenizer.encode(self._chat.render(text), add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids."""
        return self._tokenizer.decode(ids)

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Text of token ids, piece by piece; all of them together are what :meth:`decode` gives.

        A piece comes as soon as no later token can change it: not inside a character, and not in a
        run of tokens that are bytes, which a decoder takes for text or for none as a whole. What is
        no whole character at the end is U+FFFD there, too.
        """
        new: list[int] = []
        last: list[int] = []  # of the last piece: what a decoder strips, it strips before that
        shown, in_run = "", False
        for token in ids:
            new.append(token)
            if (name := self._tokenizer.id_to_token(token)) and token not in self._special:
                in_run = bool(BYTE.fullmatch(name))
            text = self.decode([*last, *new])
            if not in_run and len(text) > len(shown) and not text.endswith("\ufffd"):
                yield text[len(shown) :]
                last, new = new, []
                shown = self.decode(last)
        if rest := self.decode([*last, *new])[len(shown) :]:
            yield rest


def _read(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing more specific
        raise BundleError(f"{path} is no tokenizer ({error}); export again") from error
