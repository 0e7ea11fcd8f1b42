"""Texts to token ids and back, by a bundle's tokenizer."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from ..errors import BundleError, TaskError
from ..formats.manifest import TOKENIZER, Manifest


class BundleTokenizer:
    """The tokenizer of a bundle, with the chat template that its manifest holds."""

    def __init__(self, bundle: Path, manifest: Manifest):
        self._bundle = bundle
        self._chat = manifest.chat
        self._tokenizer = _read(bundle / TOKENIZER)

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
        """Text of token ids, piece by piece as soon as a piece is whole characters."""
        decoding = DecodeStream(skip_special_tokens=True)
        for token in ids:
            if piece := decoding.step(self._tokenizer, token):
                yield piece


def _read(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing more specific
        raise BundleError(f"{path} is no tokenizer ({error}); export again") from error
