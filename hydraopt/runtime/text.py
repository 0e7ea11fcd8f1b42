"""Encoding and decoding text with a bundle's tokenizer.

The tokenizer always runs in a confined process: it may fail on any text, and a valid manifest does
not prove who wrote the bundle. The process starts and reads the file while the session loads the
program; a call takes about 40 µs longer than in this process.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ..confined import ConfinedError, ConfinedTokenizer
from ..errors import BundleError, HydraOptError, TaskError
from ..formats.chat import ChatTemplate, Conversation
from ..formats.manifest import TOKENIZER, Manifest
from ..formats.models import CausalLm, Encoder

BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")  # a byte-fallback token


class BundleTokenizer:
    """A bundle's tokenizer and the chat template in its manifest."""

    def __init__(self, bundle: Path, manifest: Manifest):
        self._bundle = bundle
        model = manifest.model
        self._chat = model.chat if isinstance(model, CausalLm) else None
        pooling = model.pooling if isinstance(model, Encoder) else None
        self._prompt = pooling.prompt if pooling else ""
        self._tokenizer = ConfinedTokenizer(bundle / TOKENIZER)

    @classmethod
    def of(cls, bundle: Path, manifest: Manifest) -> "BundleTokenizer | None":
        """Start reading a bundle's tokenizer; None if it has none."""
        return cls(bundle, manifest) if TOKENIZER in manifest.files else None

    def check(self, *, tried: bool = False) -> None:
        """Wait until the file is read; with ``tried``, test it on texts of many kinds.

        Raises:
            BundleError: the file is not a tokenizer, or it fails on a text.
        """
        with self._translated(BundleError, "is not a tokenizer", "export again"):
            self._tokenizer.ready()
            if tried:
                self._tokenizer.try_all()

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Encode ``text`` to token ids.

        An encoder's default prompt is put before the text. Without ``special``, the tokens that
        the tokenizer adds to every text are left out, as for a continuation.

        Raises:
            TaskError: the text is not valid UTF-8, or the tokenizer rejects it.
        """
        check_text(text)
        with self._taking():
            return self._tokenizer.encode(self._prompt + text, special=special)

    def encode_chat(self, turns: Sequence[str], system: str | None = None) -> list[int]:
        """Encode turns of a chat to the token ids of a prompt for the next answer.

        In the text of a turn, special tokens are plain text.

        Args:
            turns: messages and answers, alternately; the last is the message to answer.
            system: the system prompt.

        Raises:
            TaskError: a text is not valid UTF-8, the tokenizer rejects it, or there is no chat
                template.
        """
        template = self._template
        for text in (*turns, system or ""):
            check_text(text)
        with self._taking():
            return self._tokenizer.encode_turns(template.pieces(turns, system))

    @property
    def _template(self) -> ChatTemplate:
        if self._chat is None:
            raise TaskError(
                f"{self._bundle} has no chat template, as its base model's tokenizer has none, or "
                "none that fits, as the export said; pass the whole prompt without chat"
            )
        return self._chat

    @property
    def conversation(self) -> Conversation:
        """What the chat template writes between turns.

        Raises:
            TaskError: there is no chat template, or its conversations are of another form.
        """
        if self._template.conversation is None:
            raise TaskError(
                f"the chat template of {self._bundle} writes conversations of another form than "
                "texts around those of turns; generate answers to single messages with chat"
            )
        return self._template.conversation

    def _taking(self) -> AbstractContextManager[None]:
        return self._translated(TaskError, "does not take the prompt", "pass token ids")

    def decode(self, ids: Sequence[int]) -> str:
        """Decode token ids to text.

        Raises:
            TaskError: the tokenizer fails on them.
        """
        with self._translated(TaskError, "makes no text of the tokens", "take token ids"):
            return self._tokenizer.decode(ids)

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Decode token ids piece by piece; the pieces add up to what :meth:`decode` returns.

        A piece is yielded once no later token can change it: never inside a character, and never
        inside a run of byte tokens, which a decoder accepts or rejects as a whole. An incomplete
        character at the end becomes U+FFFD, as in :meth:`decode`.
        """
        new: list[int] = []
        last: list[int] = []  # tokens of the last piece: decoders strip at the start only
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


def check_text(text: str) -> None:
    """Raise ``TaskError`` if ``text`` has no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TaskError(
            f"the prompt is not UTF-8 at character {error.start:,}; correct it"
        ) from None
