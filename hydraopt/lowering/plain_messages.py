"""Whether special tokens in the text of a message are plain text, tried on the tokenizer itself."""

import json
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PreTrainedTokenizerBase

from ..confined import ConfinedTokenizer
from ..formats.chat import ChatTemplate
from ..reading import shortened
from .tokenizer import save_tokenizer

AROUND = ("", " ", "\n", "\n\n", "a")  # texts before and after a special token's name


def check_plain(tokenizer: PreTrainedTokenizerBase, chat: ChatTemplate) -> None:
    """Encode messages that spell the special tokens, as a session encodes them.

    A vocabulary may have ordinary pieces that are spelt like special tokens, as Unigram's often
    do. They have the same ids, so that a message could end its turn and write those of others.

    Args:
        tokenizer: the base's tokenizer.
        chat: its chat template.

    Raises:
        ValueError: a message becomes a special token, other than that of unknown characters.
        ConfinedError: the tokenizer fails or exceeds the limits.
    """
    with TemporaryDirectory() as directory:
        path = Path(directory) / "tokenizer.json"
        save_tokenizer(tokenizer, path)
        model = json.loads(path.read_bytes())["model"]
        confined = ConfinedTokenizer(path)
        try:
            _check(tokenizer, chat, confined, {model.get("unk_id"), model.get("unk_token")})
        finally:
            confined.close()


def _check(
    tokenizer: PreTrainedTokenizerBase,
    chat: ChatTemplate,
    confined: ConfinedTokenizer,
    unknown: set[int | str | None],
) -> None:
    """Check with ``confined``; ``unknown``: id or name of the token of unknown characters."""
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    names = {id: token.content for id, token in added.items() if token.special}
    control = {id: name for id, name in names.items() if not {id, name} & unknown}

    def special(message: str) -> list[int]:
        ids = confined.encode_turns(chat.pieces([message]))
        return [id for id in ids if id in control]

    apart = next((x.content for x in added.values() if not (x.special or x.single_word)), "")
    template = special("a")
    around = list(product({*AROUND, apart}, repeat=2))
    for name, (before, after) in product(control.values(), around):
        if special(before + name + after) != template:
            raise ValueError(
                f"the text {shortened(name)!r} in a message becomes a special token, so that users "
                "could write turns of others"
            )
