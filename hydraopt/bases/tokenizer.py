"""The base model's tokenizer, which is tried in a confined process before this one uses it."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..confined import catching_panics, try_tokenizer
from ..formats.manifest import TOKENIZER
from ..private.transformers import hub_file
from ..reading import LARGEST, check_regular

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CONFIG = "tokenizer_config.json"
TEXTS = ("*.jinja", "*.txt", "*.model", "additional_chat_templates/*")  # besides JSON


def load_tokenizer(source: str) -> "PreTrainedTokenizerBase":
    """A base model's tokenizer, which neither cuts nor pads.

    It goes with :func:`~hydraopt.models.loading_base`, which makes an error of whatever is raised.

    Args:
        source: directory or hub id of the base model.

    Raises:
        ConfinedError: it fails, or takes more than it may.
        OSError, ValueError: there is none, or one that is code.
    """
    from transformers import AutoTokenizer

    for path in tokenizer_files(source):
        try_tokenizer(path)
    with catching_panics():  # vocabularies of other kinds become one of this kind
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    tokenizer.model_max_length = sys.maxsize  # what is too long is an error, not its warning
    if backend := getattr(tokenizer, "backend_tokenizer", None):
        backend.no_truncation()  # of training: a prompt that is too long is an error, not cut
        backend.no_padding()
        with tempfile.TemporaryDirectory() as directory:  # it need not be what the file holds
            backend.save(f"{directory}/{TOKENIZER}")
            try_tokenizer(Path(directory) / TOKENIZER)
    return tokenizer


def tokenizer_files(source: str) -> Sequence[Path]:
    """The ``tokenizer.json`` of a base model, and what may be read in its place; empty without.

    Raises:
        UnreadableError: a template or vocabulary of a directory that nobody should read.
    """
    directory = Path(source)
    if not directory.is_dir():
        found = hub_file(source, TOKENIZER)
        return [Path(found)] if found else []
    for pattern in TEXTS:
        for path in directory.glob(pattern):
            check_regular(path, LARGEST)
    return sorted(path for path in directory.glob("tokenizer*.json") if path.name != CONFIG)
