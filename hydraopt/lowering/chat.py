"""Reduce a chat template to the texts before and after a user's message.

The bundle stores the two texts, so that apps need no Jinja. Templates are untrusted programs and
are rendered in a confined process.
"""

import json
import logging
from collections.abc import Mapping
from contextlib import closing
from difflib import get_close_matches
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..confined import Confined, ConfinedError, EndedError
from ..errors import LoweringError, UsageError
from ..formats.models import Chat
from ..reading import shortened

CONTENT = "hydraopt-message"  # marks the message in a rendered template
# messages that templates may change: lines, white space, other scripts, quotes, markup
MESSAGES = ("Hi", "two\n\nlines", " \twhite space \n", "Grüße, 世界 🙂", '{"a": "<b>"}')
OURS = ("messages", "add_generation_prompt", "continue_final_message")
LONGEST_TOKEN = 1000  # characters

logger = logging.getLogger(__name__)


def read_chat(
    tokenizer: PreTrainedTokenizerBase | None, arguments: Mapping[str, Any] | None = None
) -> tuple[Chat | None, int | None]:
    """Read the prefix and suffix of a user turn, and the token that ends an answer.

    Templates are rendered without a clock: a date stored in a bundle would soon be wrong.

    Args:
        tokenizer: the base's tokenizer, with the chat template.
        arguments: variables of the template with JSON values, such as ``enable_thinking``.

    Returns:
        The user turn, or None with a warning if it is more than a prefix and a suffix; and the
        special token right after an answer, or None.

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
        return chat, _turn_end(tokenizer, template)


class _Template:
    """A chat template with its variables, rendered as by ``apply_chat_template``."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any]):
        self._tokenizer, self._arguments = tokenizer, arguments
        self._process = Confined()
        self.close = self._process.close

    def render(self, **turns: str) -> str:
        """Render turns by role; prompts for an answer unless one is given."""
        rendered = self._process.ask(
            "render",
            template=self._source(),
            messages=[{"role": role, "content": content} for role, content in turns.items()],
            add_generation_prompt="assistant" not in turns,
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


def _chat(template: _Template, arguments: Mapping[str, str]) -> Chat:
    """Return the template's prefix and suffix; raise ``ValueError`` if it is more than that."""
    rendered = template.render(user=CONTENT)
    prefix, *others = rendered.split(CONTENT)
    if len(others) != 1:
        raise ValueError(f"it has the user's message {len(others)} times, expected once")
    strip = template.render(user=f" {CONTENT} ") == rendered
    chat = Chat(prefix, others[0], strip, arguments)
    for message in MESSAGES:
        if template.render(user=message) != chat.render(message):
            raise ValueError(f"it changes the message {message!r}")
    return chat


def _turn_end(tokenizer: PreTrainedTokenizerBase, template: _Template) -> int | None:
    """Return the special token right after an answer; None if there is none."""
    try:
        rendered = template.render(user="Hi", assistant=CONTENT)
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
