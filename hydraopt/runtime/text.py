"""Texts to token ids and back, by a bundle's tokenizer.

The tokenizer runs in a confined process, always: that it held for some texts says nothing of the
next one, and a manifest that fits is no proof of who wrote it. The process starts, and reads the
file, while the session reads all else; a call takes some 40 µs more than in this process.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..confined import ConfinedError, ConfinedTokenizer
from ..errors import BundleError, HydraOptError, TaskError
from ..formats.manifest import TOKENIZER, Manifest
from ..formats.models import CausalLm, Encoder

BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")  # a token where a vocabulary falls back to bytes


class BundleTokenizer:
    """The tokenizer of a bundle, with the chat template that its manifest holds."""

    def __init__(self, bundle: Path, manifest: Manifest):
        self._bundle = bundle
        model = manifest.model
        self._chat = model.chat if isinstance(model, CausalLm) else None
        pooling = model.pooling if isinstance(model, Encoder) else None
        self._prompt = pooling.prompt if pooling else ""
        self._tokenizer = ConfinedTokenizer(bundle / TOKENIZER)

    @classmethod
    def of(cls, bundle: Path, manifest: Manifest) -> "BundleTokenizer | None":
        """That of a bundle, whose file is being read; None if it has none."""
        return cls(bundle, manifest) if TOKENIZER in manifest.files else None

    def check(self, *, tried: bool = False) -> None:
        """Wait until the file is read, and with ``tried`` until it holds for texts of all sorts.

        Raises:
            BundleError: it is no tokenizer, or fails.
        """
        with self._translated(BundleError, "is no tokenizer", "export again"):
            self._tokenizer.ready()
            if tried:
                self._tokenizer.try_all()

    def encode(self, text: str, *, chat: bool = False) -> list[int]:
        """Token ids of ``text``, or with ``chat`` of a prompt that asks it as one user turn.

        The prompt that an encoder puts before every text is part of them.

        Raises:
            TaskError: text that is no UTF-8 or that the tokenizer does not take; no chat template.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TaskError(
                f"the prompt is no UTF-8 at character {error.start:,}; correct it"
            ) from None
        if chat and self._chat is None:
            raise TaskError(
                f"{self._bundle} has no chat template, as its base model's tokenizer has none that "
                "is a prefix and a suffix of one message; pass the whole prompt without chat"
            )
        prompt = self._chat.render(text) if chat and self._chat else self._prompt + text
        with self._translated(TaskError, "does not take the prompt", "pass token ids"):
            return self._tokenizer.encode(prompt, special=not chat)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids.

        Raises:
            TaskError: the tokenizer makes none of them.
        """
        with self._translated(TaskError, "makes no text of the tokens", "take token ids"):
            return self._tokenizer.decode(ids)

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Text of token ids, piece by piece; all of them together are what :meth:`decode` gives.

        A piece comes as soon as no later token can change it: not inside a character, and not in a
        run of tokens that are bytes, which a decoder takes for text or for none as a whole. What is
        no whole character at the end is U+FFFD there, too.
        """
        new: list[int] = []
        last: list[int] = []  # of the last piece: what a decoder strips, it strips before that
        piece, in_run = "", False
        for token in ids:
            new.append(token)
            name, piece = self._added(last, new)
            if name:
                in_run = bool(BYTE.fullmatch(name))
            if piece and not in_run and not piece.endswith("\ufffd"):
                yield piece
                last, new, piece = new, [], ""
        if piece:
            yield piece

    def _added(self, last: Sequence[int], new: Sequence[int]) -> tuple[str | None, str]:
        with self._translated(TaskError, "makes no text of the tokens", "take token ids"):
            return self._tokenizer.added(last, new)

    @contextmanager
    def _translated(self, kind: type[HydraOptError], what: str, step: str) -> Iterator[None]:
        try:
            yield
        except ConfinedError as error:
            raise kind(f"{self._bundle / TOKENIZER} {what} ({error}); {step}") from error
