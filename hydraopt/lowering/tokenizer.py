"""What a bundle takes from the base model's tokenizer: its file, stop tokens, a chat template.

All of it is data in the bundle, so that apps in any language need neither transformers nor Jinja.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ..formats.manifest import Chat

CONTENT = "hydraopt-message"  # found in what a template makes of it
# what a template may treat apart: lines, white space, other scripts, quotes, markup
MESSAGES = ("Hi", "two\n\nlines", " \twhite space \n", "Grüße, 世界 🙂", '{"a": "<b>"}')

logger = logging.getLogger(__name__)


def load_tokenizer(source: str) -> PreTrainedTokenizerBase | None:
    """The base's fast tokenizer, which neither cuts nor pads; None, and a warning, without one.

    Args:
        source: directory or hub id of the base model.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        backend = tokenizer.backend_tokenizer
        backend.no_truncation()  # of training: a prompt that is too long is an error, not cut
        backend.no_padding()
    except (OSError, ValueError, AttributeError) as error:
        logger.warning("no fast tokenizer in %s: the bundle takes --ids only", source)
        logger.debug("%s", error)
        return None
    return tokenizer


def save_tokenizer(tokenizer: PreTrainedTokenizerBase | None, path: Path) -> None:
    """Write ``tokenizer.json`` to ``path``, if there is a tokenizer."""
    if tokenizer is not None:
        tokenizer.backend_tokenizer.save(str(path))


def stop_tokens(
    tokenizer: PreTrainedTokenizerBase | None, generation: Sequence[int]
) -> tuple[int, ...]:
    """The tokens that end a generation, each once.

    Args:
        tokenizer: the base's, whose end of text and end of a chat turn are added.
        generation: those of the base's ``generation_config``, which come first.
    """
    if tokenizer is None:
        return tuple(generation)
    found = [*generation, tokenizer.eos_token_id, _turn_end(tokenizer)]
    return tuple(dict.fromkeys(token for token in found if token is not None))


def chat_of(tokenizer: PreTrainedTokenizerBase | None) -> Chat | None:
    """The chat template for one user turn, if it is a prefix and a suffix; else None and a warning.

    A template that tells the date is taken as it is where there is no clock: a date that is put
    into a bundle would soon be wrong.
    """
    if tokenizer is None or not tokenizer.chat_template:
        return None
    try:
        rendered = _render(tokenizer, user=CONTENT)
        prefix, *others = rendered.split(CONTENT)
        if len(others) != 1:
            raise ValueError(f"it tells the user's message {len(others)} times, expected once")
        chat = Chat(prefix, others[0], _render(tokenizer, user=f" {CONTENT} ") == rendered)
        for message in MESSAGES:
            if _render(tokenizer, user=message) != chat.render(message):
                raise ValueError(f"it does not keep the message {message!r} as it is")
    except Exception as error:  # a template is a program, which raises what its author likes
        logger.warning("the bundle has no chat template; the tokenizer's does not fit: %s", error)
        return None
    return chat


def _turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The special token that the template puts right after an answer; None if there is none."""
    if not tokenizer.chat_template:
        return None
    try:
        rendered = _render(tokenizer, user="Hi", assistant=CONTENT)
    except Exception:  # as in chat_of
        return None
    following = tokenizer.encode(rendered.rpartition(CONTENT)[2], add_special_tokens=False)
    special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return following[0] if following and following[0] in special else None


def _render(tokenizer: PreTrainedTokenizerBase, **turns: str) -> str:
    """The template's text for turns by role; it asks for an answer unless there is one."""
    template = tokenizer.get_chat_template()
    return tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in turns.items()],
        # undefined, as in runtimes without a clock; templates then use a fixed date
        chat_template=template.replace("strftime_now", "no_clock"),
        add_generation_prompt="assistant" not in turns,
        tokenize=False,
    )
