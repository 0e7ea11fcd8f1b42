"""What runs in a confined process: a request is a line of JSON, and so is its answer.

It is started as a script, as the package imports what takes longer than all of this.
"""

import json
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

SECONDS = 10  # of the processor, for one request; the largest vocabularies take some two
WAITING = 60  # seconds until it is answered, on however busy a machine
MEMORY = 1 << 30  # bytes of the process; they take half of it
LONGEST = 16 << 20  # bytes of an answer


class Tokenizing:
    """A tokenizer."""

    def load(self, path: str) -> None:
        """Read a ``tokenizer.json``, which from now on neither cuts nor pads."""
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(path)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = {token for token, content in added.items() if content.special}

    def encode(self, text: str, special: bool) -> list[int]:
        """Ids of a text, with or without the tokens that are added to every text."""
        return self._tokenizer.encode(text, add_special_tokens=special).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids without special tokens."""
        return self._tokenizer.decode(ids)

    def added(self, last: Sequence[int], new: Sequence[int]) -> tuple[str | None, str]:
        """The last new token as it is in the vocabulary, None for a special one or none; and what
        new ids add to the text of the last ones.
        """
        name = None if new[-1] in self._special else self._tokenizer.id_to_token(new[-1])
        return name, self.decode([*last, *new])[len(self.decode(last)) :]

    def try_all(self, texts: Sequence[str]) -> None:
        """Encode and decode texts, and decode every token alone and all of them in one text.

        A text with characters that the tokenizer does not know is none of its failures.
        """
        for text in texts:
            with suppress(Exception):  # tokenizers raises nothing more specific; a panic is none
                self.decode(self.encode(text, special=True))
        tokens = range(self._tokenizer.get_vocab_size())
        self._tokenizer.decode_batch([[token] for token in tokens])
        self.decode(tokens)


def render(
    template: str, messages: Sequence[Mapping[str, str]], asks: bool, given: Mapping[str, Any]
) -> str:
    """The text that transformers makes of messages by a chat template.

    Args:
        template: a program in Jinja.
        messages: with ``role`` and ``content``.
        asks: whether the head of an answer follows.
        given: further variables.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    texts, _ = render_jinja_template(
        [messages], chat_template=template, add_generation_prompt=asks, **given
    )
    return texts[0]


def names(template: str) -> list[str]:
    """All names in the code of a chat template."""
    from jinja2 import Environment

    return sorted({text for _, kind, text in Environment().lex(template) if kind == "name"})


def main() -> None:
    """Answer the lines of standard input until it ends."""
    tokenizing = Tokenizing()
    answers: dict[str, Callable[..., Any]] = {
        function.__name__: function
        for function in (
            *(tokenizing.load, tokenizing.encode, tokenizing.decode, tokenizing.added),
            *(tokenizing.try_all, render, names),
        )
    }
    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(limit, (most, most))
        except (ValueError, OSError):  # macOS has no limit of this kind
            continue
    for line in sys.stdin.buffer:
        _limit_time(SECONDS, WAITING)
        answer = _answer(answers, line)
        _limit_time(0, 0)
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


def _limit_time(processor: float, waiting: float) -> None:
    """End the process by a signal after so many seconds, whatever it does by then; 0: never."""
    signal.setitimer(signal.ITIMER_PROF, processor)
    signal.setitimer(signal.ITIMER_REAL, waiting)


def _answer(answers: Mapping[str, Callable[..., Any]], line: bytes) -> str:
    try:
        request = json.loads(line)
        answer = json.dumps({"value": answers[request.pop("function")](**request)})
    except BaseException as error:  # a panic of compiled code is no Exception
        answer = json.dumps({"error": (str(error) or type(error).__name__)[:1000]})
    if len(answer) > LONGEST:
        return json.dumps(
            {"error": f"it makes {len(answer):,} bytes, expected at most {LONGEST:,}"}
        )
    return answer


if __name__ == "__main__":
    main()
