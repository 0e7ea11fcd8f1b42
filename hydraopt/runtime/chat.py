"""Conversations: answers to one message after the other, with one KV cache."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..errors import ContextFullError, TaskError, UsageError
from ..reading import shortened
from .endings import End, stop_strings, until, without_empty_thoughts
from .sampling import Sampling
from .text import BundleTokenizer

if TYPE_CHECKING:
    from .texts import Texts

ROLES = ("user", "assistant")
REFUSE, DROP = "refuse", "drop"
DEFAULT_NEW_TOKENS = 256


@dataclass
class _Turn:
    """A message and its answer, which grows."""

    message: str
    answer: str = ""

    def growing(self, pieces: Generator[str, None, bool]) -> Generator[str, None, bool]:
        """Yield the pieces of an answer, which has each of them by then; return as they do."""
        while True:
            try:
                piece = next(pieces)
            except StopIteration as ended:
                return ended.value
            self.answer += piece
            yield piece


class Chat:
    """A conversation with a session's current task; :meth:`.Session.chat` begins one.

    A prompt is exactly what the base's chat template makes of the conversation, and what it has in
    common with the KV cache is not computed again; after a switch all of it is. Chats may share a
    session: each is computed again in its turn.

    Attributes:
        end: why the last answer ended; None before the first.
        ids: token ids of the last answer, without an end token.
        dropped: number of messages that were dropped, with their answers, for a full context.
    """

    def __init__(
        self,
        session: "Texts",
        tokenizer: BundleTokenizer,
        system: str | None,
        messages: Sequence[Mapping[str, str]],
        full: str,
    ):
        if full not in (REFUSE, DROP):
            raise UsageError(f"full is {full!r}, expected {REFUSE!r} or {DROP!r}")
        self._session, self._tokenizer, self._full = session, tokenizer, full
        self._between = tokenizer.conversation
        self._turns = _past(messages)
        self.system = system
        self.end: End | None = None
        self.ids: list[int] = []
        self.dropped = 0

    @property
    def system(self) -> str | None:
        """The system prompt; None for the template's own, if it has one. May be set at any time."""
        return self._system

    @system.setter
    def system(self, text: str | None) -> None:
        if text is not None:
            check_text(text, "the system prompt", "leave it out")
            if self._between.system is None:
                raise TaskError(
                    "the base's chat template takes no system prompt; write it into a message"
                )
        self._system = text

    @property
    def messages(self) -> list[dict[str, str]]:
        """Messages and answers, with ``role`` and ``content``, as :meth:`.Session.chat` takes."""
        texts = [text for turn in self._turns for text in (turn.message, turn.answer)]
        return [{"role": ROLES[n % 2], "content": text} for n, text in enumerate(texts)]

    def send(
        self,
        message: str,
        max_new_tokens: int = DEFAULT_NEW_TOKENS,
        *,
        sampling: Sampling | None = None,
        stop: str | Sequence[str] = (),
    ) -> Generator[str, None, None]:
        """Answer a message and yield the answer piece by piece.

        An answer that is not read to its end is kept as far as it was read; if that is nothing, the
        conversation stays as it was. Empty thoughts are left out.

        Args:
            message: the user's message.
            max_new_tokens: maximum number of tokens to generate.
            sampling: how tokens are chosen; greedy by default.
            stop: texts that end the answer and are not a part of it.

        Raises:
            ContextFullError: the conversation, or the message alone, is longer than the context.
            TaskError: the message is empty; or as :meth:`.Session.stream`.
            UsageError: a stop string is empty.
        """
        return self._answer([*self._turns, _Turn(message)], max_new_tokens, sampling, stop)

    def retry(
        self,
        max_new_tokens: int = DEFAULT_NEW_TOKENS,
        *,
        sampling: Sampling | None = None,
        stop: str | Sequence[str] = (),
    ) -> Generator[str, None, None]:
        """Answer the last message again, in place of its answer; otherwise as :meth:`send`.

        Raises:
            TaskError: there is no message yet; or as :meth:`send`.
        """
        if not self._turns:
            raise TaskError("there is no message to answer again; send one")
        *before, last = self._turns
        return self._answer([*before, _Turn(last.message)], max_new_tokens, sampling, stop)

    def _answer(
        self,
        turns: list[_Turn],
        max_new_tokens: int,
        sampling: Sampling | None,
        stop: str | Sequence[str],
    ) -> Generator[str, None, None]:
        """Check the prompt of ``turns`` at once, and return the answer to the last."""
        ends = stop_strings(stop)
        check_text(turns[-1].message, "the message", "write one")
        kept, ids = self._fitting(turns, max_new_tokens)
        tokens = partial(self._session.generate_ids, ids, max_new_tokens, sampling=sampling)
        return self._answering(kept, len(turns) - len(kept), tokens, ends)

    def _answering(
        self,
        turns: list[_Turn],
        dropped: int,
        generate: Callable[..., Generator[int, None, End]],
        stop: Sequence[str],
    ) -> Generator[str, None, None]:
        """Yield the answer of the last turn while it grows."""
        was, turn = self._turns, turns[-1]
        self._turns, self.ids, self.end = turns, [], End.CANCELLED
        ids = self._noted(generate(reuse=True), self.ids)
        pieces = without_empty_thoughts(self._session.decode_stream(ids), self._between.thoughts)
        try:
            if (yield from turn.growing(until(pieces, stop))):
                self.end = End.STOP
        except BaseException:
            if self._turns is turns and not turn.answer:
                self._turns, dropped = was, 0
            raise
        finally:
            self.dropped += dropped

    def _noted(self, tokens: Generator[int, None, End], ids: list[int]) -> Iterator[int]:
        """Yield tokens, add them to ``ids``, and note why they end."""
        while True:
            try:
                ids.append(next(tokens))
            except StopIteration as ended:
                self.end = ended.value
                return
            yield ids[-1]

    def _fitting(self, turns: list[_Turn], max_new_tokens: int) -> tuple[list[_Turn], list[int]]:
        """Return the turns that the context has room for, and the ids of their prompt."""
        most = self._session.manifest.causal_lm.max_length
        ids = self._encoded(turns)
        # an answer shall not end at once, nor its room take the whole conversation
        room = min(max_new_tokens, most // 4)
        while self._full == DROP and len(turns) > 1 and len(ids) + room > most:
            turns = turns[1:]
            ids = self._encoded(turns)
        if len(ids) < most:
            return turns, ids
        what, step = "message", "shorten it"
        if len(turns) > 1:
            what, step = "conversation", f"begin another, drop its oldest messages (full={DROP!r})"
        raise ContextFullError(
            f"the {what} has {len(ids)} tokens in the chat template, expected at most {most - 1}; "
            f"{step} or export with a longer context",
            options=["max_length"],
        )

    def _encoded(self, turns: Sequence[_Turn]) -> list[int]:
        texts = [text for turn in turns for text in (turn.message, turn.answer)]
        return self._tokenizer.encode_chat(texts[:-1], self.system)


def _past(messages: Sequence[Mapping[str, str]]) -> list[_Turn]:
    """Return messages of a conversation as turns; raise ``TaskError`` if they are none."""
    texts = []
    for index, message in enumerate(messages):
        role, place = ROLES[index % 2], f"message {index + 1}"
        if not (isinstance(message, Mapping) and {*message} == {"role", "content"}):
            raise TaskError(f"{place} is {shortened(message)!r}, expected role and content")
        if message["role"] != role:
            raise TaskError(
                f"{place} has the role {shortened(message['role'])!r}, expected {role!r}: messages "
                "of user and assistant alternate, and a system prompt is passed as system"
            )
        if role == "user":
            check_text(message["content"], place, "leave it and its answer out")
        texts.append(message["content"])
    if len(texts) % 2:
        raise TaskError("the messages end with one of the user, expected its answer; send it")
    return [_Turn(*pair) for pair in zip(texts[::2], texts[1::2], strict=True)]


def check_text(text: str, what: str, step: str) -> None:
    """Raise ``TaskError`` for the text of a turn that is empty."""
    if not text.strip():
        raise TaskError(f"{what} is empty, expected a text; {step}")
