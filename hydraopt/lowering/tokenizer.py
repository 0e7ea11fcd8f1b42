"""A bundle's tokenizer file and end tokens, so that apps need no transformers."""

import logging
from collections.abc import Sequence
from pathlib import Path

from tokenizers import normalizers
from transformers import PreTrainedTokenizerBase

from ..bases import tokenizer as tokenizers

logger = logging.getLogger(__name__)


def load_tokenizer(source: str, *, lower_case: bool = False) -> PreTrainedTokenizerBase | None:
    """Load the base's fast tokenizer without truncation and padding; None, with a warning, if none.

    Args:
        source: directory or hub id of the base model.
        lower_case: whether to convert texts to lower case.

    Raises:
        ConfinedError, OSError, ValueError: ``tokenizer.json`` exists and cannot be used.
    """
    try:
        tokenizer = tokenizers.load_tokenizer(source)
        if getattr(tokenizer, "backend_tokenizer", None):
            return _lowered(tokenizer) if lower_case else tokenizer
    except (OSError, ValueError, AttributeError) as error:
        if tokenizers.tokenizer_files(source):
            raise
        logger.debug("%s", error)
    logger.warning("no fast tokenizer in %s: the bundle takes token ids only", source)
    return None


def _lowered(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Make a tokenizer convert texts to lower case, in place."""
    backend = tokenizer.backend_tokenizer
    normalizer = backend.normalizer
    if normalizer is None:
        backend.normalizer = normalizers.Lowercase()
    elif normalizer.normalize_str("Aa") != "aa":
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizer])
    return tokenizer


def save_tokenizer(tokenizer: PreTrainedTokenizerBase | None, path: Path) -> None:
    """Write a tokenizer, if there is one, to ``path``."""
    if tokenizer is not None:
        tokenizer.backend_tokenizer.save(str(path))


def stop_tokens(
    tokenizer: PreTrainedTokenizerBase | None, generation: Sequence[int], turn_end: int | None
) -> tuple[int, ...]:
    """Return the tokens that end a generation, without duplicates.

    Args:
        tokenizer: the base's tokenizer, for its end of text.
        generation: end tokens of the base's ``generation_config``; they come first.
        turn_end: token that ends a turn of the chat, see :func:`.chat.read_chat`.
    """
    found = [*generation, tokenizer and tokenizer.eos_token_id, turn_end]
    return tuple(dict.fromkeys(token for token in found if token is not None))
