"""What a session makes of texts: generations, conversations, token ids and back."""

from abc import abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from ..errors import TaskError, require
from ..formats.manifest import Manifest
from ..formats.models import CausalLm
from .chat import Chat
from .endings import End, stop_strings, until
from .sampling import Sampling
from .text import BundleTokenizer


class Texts:
    """The methods of a :class:`.Session` that take or return texts."""

    bundle: Path
    manifest: Manifest
    _tokenizer: BundleTokenizer | None

    @abstractmethod
    def _causal_lm(self) -> CausalLm:
        """Return the causal LM; raise ``TaskError`` for another kind or without a current task."""

    @abstractmethod
    def generate_ids(
        self,
        ids: Sequence[int],
        max_new_tokens: int = 64,
        *,
        sampling: Sampling | None = None,
        reuse: bool = False,
    ) -> Generator[int, None, End]:
        """Start a new sequence with ``ids`` and yield its continuation token by token."""

    def stream(
        self,
        text: str,
        max_new_tokens: int = 64,
        *,
        sampling: Sampling | None = None,
        stop: str | Sequence[str] = (),
        chat: bool = False,
    ) -> Iterator[str]:
        """Generate a continuation of ``text`` and yield it piece by piece.

        Args:
            text: the prompt, or with ``chat`` the user's message.
            max_new_tokens: maximum number of tokens to generate.
            sampling: how tokens are chosen; greedy by default.
            stop: texts that end the continuation and are not a part of it.
            chat: put ``text`` as one user turn into the base's chat template.

        Raises:
            TaskError: as :meth:`forward` and :meth:`encode`.
            UsageError: a stop string is empty.
        """
        self._causal_lm()
        ends = stop_strings(stop)
        tokens = self.generate_ids(self.encode(text, chat=chat), max_new_tokens, sampling=sampling)
        return until(self.decode_stream(tokens), ends)

    def generate(
        self,
        text: str,
        max_new_tokens: int = 64,
        *,
        sampling: Sampling | None = None,
        stop: str | Sequence[str] = (),
        chat: bool = False,
    ) -> str:
        """Generate a continuation of ``text``; arguments and errors as :meth:`stream`."""
        pieces = self.stream(text, max_new_tokens, sampling=sampling, stop=stop, chat=chat)
        return "".join(pieces)

    def chat(
        self,
        system: str | None = None,
        *,
        messages: Sequence[Mapping[str, str]] = (),
        full: Literal["refuse", "drop"] = "refuse",
    ) -> Chat:
        """Begin a conversation.

        Args:
            system: the system prompt; None for the chat template's own, if it has one.
            messages: messages and answers so far, alternately, as of :attr:`.Chat.messages`.
            full: what to do when the conversation is longer than the context: ``refuse`` raises
                ``ContextFullError``; ``drop`` leaves out the oldest messages with their answers
                until there is room for the next answer, at most a quarter of the context.

        Raises:
            TaskError: the model is not a causal LM, no task is current, the chat template writes
                conversations of another form or takes no system prompt, or a message is empty or
                of another role.
            UsageError: ``full`` is neither.
        """
        self._causal_lm()
        return Chat(self, self._tokenized(), system, messages, full)

    def encode(self, text: str, *, chat: bool = False, special: bool = True) -> list[int]:
        """Encode ``text`` to token ids; with ``chat`` as one user turn of the chat template.

        Special tokens in ``text`` are parsed, but in a turn of a chat they are plain text. Without
        ``special``, the tokens that the tokenizer adds to every text, such as one that begins it,
        are left out: ``text`` continues another.

        Raises:
            TaskError: the text is not valid UTF-8, the tokenizer rejects it, or the bundle has no
                tokenizer or no chat template.
        """
        tokenizer = self._tokenized()
        return tokenizer.encode_chat([text]) if chat else tokenizer.encode(text, special=special)

    def _tokenized(self) -> BundleTokenizer:
        if self._tokenizer is None:
            raise TaskError(f"{self.bundle} has no tokenizer; pass token ids")
        return self._tokenizer

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Decode token ids piece by piece; the pieces add up to what :meth:`decode` returns."""
        return require(self._tokenizer, "tokenizer").decode_stream(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Decode token ids to text; empty if the bundle has no tokenizer."""
        return "" if self._tokenizer is None else self._tokenizer.decode(ids)
