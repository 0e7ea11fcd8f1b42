"""Reduce a chat template to the texts around those of turns.

The bundle stores these texts, so that apps need no Jinja. They are found by rendering marked turns,
and must give what the template gives for random conversations. Templates are untrusted programs
and are rendered in a confined process.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from difflib import get_close_matches
from random import Random
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..confined import Confined, ConfinedError, EndedError
from ..errors import LoweringError, UsageError
from ..formats.chat import ChatTemplate, Conversation
from ..reading import shortened
from .plain_messages import check_plain

CONTENT = "hydraopt-message"  # marks the message in a rendered template
TURNS = (CONTENT, "hydraopt-answer", "hydraopt-next-message")
SYSTEM = "hydraopt-system"
# messages that templates may change: lines, white space, other scripts, quotes, markup
MESSAGES = ("Hi", "two\n\nlines", " \twhite space \n", "Grüße, 世界 🙂", '{"a": "<b>"}')
THOUGHTS = ("<think>", "</think>")  # tags around the thoughts of reasoning models
# of which turns of the random conversations are made
WORDS = (*MESSAGES, " ", "\n", "\n\n", "\t", "\u00a0", "a b", "**x**", *THOUGHTS)
CONVERSATIONS = 60  # that must be rendered as by the template
OURS = ("messages", "add_generation_prompt", "continue_final_message")
LONGEST_TOKEN = 1000  # characters

logger = logging.getLogger(__name__)


def read_chat(
    tokenizer: PreTrainedTokenizerBase | None, arguments: Mapping[str, Any] | None = None
) -> tuple[ChatTemplate | None, int | None]:
    """Read the texts around those of turns, and the token that ends an answer.

    Templates are rendered without a clock: a date stored in a bundle would soon be wrong.

    Args:
        tokenizer: the base's tokenizer, with the chat template.
        arguments: variables of the template with JSON values, such as ``enable_thinking``.

    Returns:
        The template, or None with a warning if one message is more than a prefix and a suffix, or
        if special tokens in a message would not be plain text, and with ``conversation`` None and
        a warning if only one message is of this form; and the special token right after an answer,
        or None.

    Raises:
        UsageError: an argument is not JSON or not a variable of the template.
        LoweringError: arguments are given and the template is missing or does not fit.
    """
    texts = {name: _text(name, value) for name, value in (arguments or {}).items()}
    if tokenizer is None or not tokenizer.chat_template:
        if texts:
            raise LoweringError(
                f"the base model has no chat template, expected one that takes {_listed(texts)}; "
                "leave them out",
                options=["chat_template_arg"],
            )
        return None, None
    with closing(_Template(tokenizer, arguments or {})) as template:
        try:
            template.check_names()
            chat = _chat(template, texts)
            check_plain(tokenizer, chat)
        except (ConfinedError, ValueError) as error:
            if texts:
                raise LoweringError(
                    f"the chat template does not fit with {_listed(texts)} ({error}); pass other "
                    "values, or leave them out",
                    options=["chat_template_arg"],
                ) from None
            logger.warning(
                "the bundle has no chat template; the tokenizer's does not fit: %s", error
            )
            if isinstance(error, EndedError):  # a second attempt could take as long
                return None, None
            chat = None
        return chat and _with_conversation(template, chat), _turn_end(tokenizer, template)


class _Template:
    """A chat template with its variables, rendered as by ``apply_chat_template``."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any]):
        self._tokenizer, self._arguments = tokenizer, arguments
        self._process = Confined()
        self.close = self._process.close

    def render(self, *turns: str, system: str | None = None) -> str:
        """Render messages and answers, alternately; after a message, prompt for an answer."""
        messages = [] if system is None else [("system", system)]
        messages += [(("user", "assistant")[index % 2], turn) for index, turn in enumerate(turns)]
        rendered = self._process.ask(
            "render",
            template=self._source(),
            messages=[{"role": role, "content": content} for role, content in messages],
            add_generation_prompt=len(turns) % 2 == 1,
            variables={**self._tokenizer.special_tokens_map, **self._arguments},
        )
        rendered.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError
        return rendered

    def check_names(self) -> None:
        """Raise ``UsageError`` for an argument that is reserved or not a variable."""
        if not self._arguments:
            return
        known = self._process.ask("names", template=self._source())
        for name in self._arguments:
            if name in OURS:
                raise UsageError(
                    f"the variable {name} of the chat template is set by the export; leave it out",
                    options=["chat_template_arg"],
                )
            if name not in known:
                near = get_close_matches(name, known, 1)
                step = f"did you mean {near[0]}?" if near else "see the template for its variables"
                raise UsageError(
                    f"the base's chat template has no variable {shortened(name)!r}, so that "
                    f"it changes nothing; {step}",
                    options=["chat_template_arg"],
                )

    def _source(self) -> str:
        template = self._tokenizer.get_chat_template(tools=self._arguments.get("tools"))
        if not isinstance(template, str):
            raise ValueError(f"it is {shortened(template)}, expected text")
        # undefined, as without a clock; templates then use a fixed date
        return template.replace("strftime_now", "no_clock")


def _chat(template: _Template, arguments: Mapping[str, str]) -> ChatTemplate:
    """Return the template's prefix and suffix; raise ``ValueError`` if it is more than that."""
    rendered = template.render(CONTENT)
    prefix, *others = rendered.split(CONTENT)
    if len(others) != 1:
        raise ValueError(f"it has the user's message {len(others)} times, expected once")
    strip = template.render(f" {CONTENT} ") == rendered
    chat = ChatTemplate(prefix, others[0], strip, arguments)
    for message in MESSAGES:
        if template.render(message) != chat.render(message):
            raise ValueError(f"it changes the message {message!r}")
    return chat


def _with_conversation(template: _Template, chat: ChatTemplate) -> ChatTemplate:
    """Add what is between turns, or warn with the reason if it is not of this form."""
    try:
        found = replace(chat, conversation=_conversation(template, chat))
        _prove(template, found)
    except (ConfinedError, ValueError) as error:
        logger.warning(
            "the bundle's chat is one message and its answer; conversations of the tokenizer's "
            "chat template do not fit: %s",
            error,
        )
        return chat
    return found


def _conversation(template: _Template, chat: ChatTemplate) -> Conversation:
    """Find what is between turns; raise ``ValueError`` if a marked turn is not there once."""
    rendered = template.render(*TURNS)
    prefix, answer, message, suffix = _between(rendered, TURNS)
    if (prefix, suffix) != (chat.prefix, chat.suffix):
        raise ValueError("it begins or ends otherwise than with one message")
    first, second, last = TURNS
    thinking = template.render(first, f"{THOUGHTS[0]}\nHm\n{THOUGHTS[1]}\n\n{second}", last)
    stripped = ["assistant"] if template.render(first, f" {second} ", last) == rendered else []
    try:
        with_system = template.render(CONTENT, system=SYSTEM)
    except ConfinedError:  # as templates do that take no system prompt
        system = None
    else:
        before, after, _ = _between(with_system, (SYSTEM, CONTENT))
        system = before, after
        if template.render(CONTENT, system=f" {SYSTEM} ") == with_system:
            stripped.append("system")
    thoughts = THOUGHTS if thinking == rendered else None
    return Conversation(system, answer, message, tuple(stripped), thoughts)


def _between(rendered: str, marks: Sequence[str]) -> list[str]:
    """Split a text at marks, each of which it must have once, in order."""
    texts = []
    for mark in marks:
        if rendered.count(mark) != 1:
            raise ValueError(
                f"it has the turn {mark!r} {rendered.count(mark)} times after the turn before it, "
                "expected once"
            )
        text, _, rendered = rendered.partition(mark)
        texts.append(text)
    return [*texts, rendered]


def _prove(template: _Template, chat: ChatTemplate) -> None:
    """Raise ``ValueError`` for a random conversation that the template renders otherwise."""
    random = Random(0)
    takes_system = chat.conversation and chat.conversation.system
    for _ in range(CONVERSATIONS):
        count = 2 * random.randint(0, 4) + 1  # the last is a message
        turns = [_random_text(random, "" if index % 2 else "Hi") for index in range(count)]
        system = _random_text(random, "You") if takes_system and random.random() < 0.5 else None
        if template.render(*turns, system=system) != chat.render(*turns, system=system):
            raise ValueError(f"it changes a conversation of {count} turns")


def _random_text(random: Random, middle: str) -> str:
    before, after = ("".join(random.choices(WORDS, k=random.randint(0, 3))) for _ in range(2))
    return before + middle + after


def _turn_end(tokenizer: PreTrainedTokenizerBase, template: _Template) -> int | None:
    """Return the special token right after an answer; None if there is none."""
    try:
        rendered = template.render("Hi", CONTENT)
    except (ConfinedError, ValueError):  # as in read_chat
        return None
    after = rendered.rpartition(CONTENT)[2][:LONGEST_TOKEN]
    following = tokenizer.encode(after, add_special_tokens=False)
    special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return following[0] if following and following[0] in special else None


def _text(name: str, value: object) -> str:
    """Return an argument as JSON for the manifest."""
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the argument {shortened(name)!r} of the chat template is not JSON ({error}); pass "
            "a value that is"
        ) from None


def _listed(arguments: Mapping[str, str]) -> str:
    return shortened(", ".join(f"{name}={value}" for name, value in arguments.items()))
