"""The script of a confined process: reads requests and writes answers, each a line of JSON.

It runs as a script because importing the package would take longer than its work.
"""

import json
import re
import resource
import secrets
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

SECONDS = 10  # CPU time of a request; the largest vocabularies take about 2
WAITING = 60  # wall-clock seconds of a request, also on a busy machine
MEMORY = 1 << 30  # bytes of the process; the largest vocabularies take half
LONGEST = 16 << 20  # bytes of an answer


class Tokenizing:
    """A tokenizer."""

    def load(self, path: str) -> None:
        """Read a ``tokenizer.json``, and disable truncation and padding."""
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(path)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = {token: content for token, content in added.items() if content.special}
        self._twins: _Twins | None = None

    def encode(self, text: str, special: bool) -> list[int]:
        """Return the ids of a text, with or without the tokens added to every text."""
        return self._tokenizer.encode(text, add_special_tokens=special).ids

    def encode_turns(self, pieces: Sequence[str]) -> list[int]:
        """Return the ids of a text in pieces, a template's and those of turns alternately.

        Special tokens are those of the template alone; none is added.
        """
        if self._twins is None:
            self._twins = _Twins(self._tokenizer, self._special)
        return self._twins.encode(pieces)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without special tokens."""
        return self._tokenizer.decode(ids)

    def added(self, last: Sequence[int], new: Sequence[int]) -> tuple[str | None, str]:
        """Return the last new token's vocabulary entry, and the text that the new ids append.

        The entry is None if the token is special or unknown.
        """
        name = None if new[-1] in self._special else self._tokenizer.id_to_token(new[-1])
        return name, self.decode([*last, *new])[len(self.decode(last)) :]

    def try_all(self, texts: Sequence[str]) -> None:
        """Encode and decode texts, and decode every token alone and all of them in one text.

        Characters that the tokenizer does not know are not a failure.
        """
        for text in texts:
            with suppress(Exception):  # tokenizers raises plain Exception; panics pass through
                self.decode(self.encode(text, special=True))
        tokens = range(self._tokenizer.get_vocab_size())
        self._tokenizer.decode_batch([[token] for token in tokens])
        self.decode(tokens)


class _Twins:
    """Special tokens of one more name each, which only the texts of a template are written with.

    A text in which special tokens are plain text but for some of them can thus be encoded at once,
    as words may reach from a template's text into that of a turn.
    """

    def __init__(self, tokenizer: Any, special: Mapping[int, Any]):
        from tokenizers import AddedToken

        self._tokenizer, self._mark = tokenizer, secrets.token_hex(8)  # no text can have it
        names = sorted((token.content for token in special.values()), key=len, reverse=True)
        self._names = re.compile("|".join(map(re.escape, names)) or "(?!)")
        rules = ("single_word", "lstrip", "rstrip", "normalized")
        twins = [
            AddedToken(self._mark + token.content, **{rule: getattr(token, rule) for rule in rules})
            for token in special.values()
        ]
        tokenizer.add_tokens(twins)
        ids = [tokenizer.token_to_id(twin.content) for twin in twins]
        self._originals = dict(zip(ids, special, strict=True))

    def encode(self, pieces: Sequence[str]) -> list[int]:
        text = "".join(
            piece if index % 2 else self._names.sub(lambda found: self._mark + found[0], piece)
            for index, piece in enumerate(pieces)
        )
        self._tokenizer.encode_special_tokens = True  # as plain text; twins are not special
        try:
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        finally:
            self._tokenizer.encode_special_tokens = False
        return [self._originals.get(token, token) for token in ids]


def render(
    template: str,
    messages: Sequence[Mapping[str, str]],
    add_generation_prompt: bool,
    variables: Mapping[str, Any],
) -> str:
    """Render messages with a chat template, as transformers does.

    Args:
        template: Jinja template.
        messages: maps with ``role`` and ``content``.
        add_generation_prompt: whether to append the generation prompt.
        variables: further variables of the template.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    texts, _ = render_jinja_template(
        [messages], chat_template=template, add_generation_prompt=add_generation_prompt, **variables
    )
    return texts[0]


def names(template: str) -> list[str]:
    """Return all names in the code of a chat template."""
    from jinja2 import Environment

    return sorted({text for _, kind, text in Environment().lex(template) if kind == "name"})


def main() -> None:
    """Answer requests from standard input until it ends."""
    tokenizing = Tokenizing()
    answers: dict[str, Callable[..., Any]] = {
        function.__name__: function
        for function in (
            *(tokenizing.load, tokenizing.encode, tokenizing.encode_turns, tokenizing.decode),
            *(tokenizing.added, tokenizing.try_all, render, names),
        )
    }
    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(limit, (most, most))
        except (ValueError, OSError):  # not available on macOS
            continue
    for line in sys.stdin.buffer:
        _limit_time(SECONDS, WAITING)
        answer = _answer(answers, line)
        _limit_time(0, 0)
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


def _limit_time(processor: float, waiting: float) -> None:
    """Set timers of CPU and wall-clock seconds that end the process by a signal; 0: no limit."""
    signal.setitimer(signal.ITIMER_PROF, processor)
    signal.setitimer(signal.ITIMER_REAL, waiting)


def _answer(answers: Mapping[str, Callable[..., Any]], line: bytes) -> str:
    try:
        request = json.loads(line)
        answer = json.dumps({"value": answers[request.pop("function")](**request)})
    except BaseException as error:  # a Rust panic is not an Exception
        answer = json.dumps({"error": (str(error) or type(error).__name__)[:1000]})
    if len(answer) > LONGEST:
        return json.dumps(
            {"error": f"it makes {len(answer):,} bytes, expected at most {LONGEST:,}"}
        )
    return answer


if __name__ == "__main__":
    main()
