"""What a bundle takes from the base model's tokenizer: its file and stop tokens.

Both are data in the bundle, so that apps in any language do without transformers.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from tokenizers import normalizers
from transformers import PreTrainedTokenizerBase

from ..bases import tokenizer as tokenizers

logger = logging.getLogger(__name__)


def load_tokenizer(source: str, *, lower_case: bool = False) -> PreTrainedTokenizerBase | None:
    """The base's fast tokenizer, which neither cuts nor pads; None, and a warning, without one.

    Args:
        source: directory or hub id of the base model.
        lower_case: whether it has to read capitals as small letters.

    Raises:
        ConfinedError, OSError, ValueError: there is a ``tokenizer.json`` that cannot be used.
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
    """A tokenizer that reads capitals as small letters, changed in place unless it does so."""
    backend = tokenizer.backend_tokenizer
    normalizer = backend.normalizer
    if normalizer is None:
        backend.normalizer = normalizers.Lowercase()
    elif normalizer.normalize_str("Aa") != "aa":
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizer])
    return tokenizer


def save_tokenizer(tokenizer: PreTrainedTokenizerBase | None, path: Path) -> None:
    """Write ``tokenizer.json`` to ``path``, if there is a tokenizer."""
    if tokenizer is not None:
        tokenizer.backend_tokenizer.save(str(path))


def stop_tokens(
    tokenizer: PreTrainedTokenizerBase | None, generation: Sequence[int], turn_end: int | None
) -> tuple[int, ...]:
    """The tokens that end a generation, each once.

    Args:
        tokenizer: the base's, whose end of text is added.
        generation: those of the base's ``generation_config``, which come first.
        turn_end: that which ends a turn of the chat, see :func:`.chat.read_chat`.
    """
    found = [*generation, tokenizer and tokenizer.eos_token_id, turn_end]
    return tuple(dict.fromkeys(token for token in found if token is not None))
