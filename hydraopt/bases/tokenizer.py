"""Load the base model's tokenizer, after trying it in a confined process."""

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
TEXTS = ("*.jinja", "*.txt", "*.model", "additional_chat_templates/*")  # files other than JSON


def load_tokenizer(source: str) -> "PreTrainedTokenizerBase":
    """Load a base model's tokenizer, without truncation and padding.

    Call it inside :func:`~hydraopt.models.loading_base`, which turns any exception into one line.

    Args:
        source: directory or hub id of the base model.

    Raises:
        ConfinedError: the tokenizer fails or exceeds the limits of its process.
        OSError, ValueError: there is no tokenizer, or it needs remote code.
    """
    from transformers import AutoTokenizer

    for path in tokenizer_files(source):
        try_tokenizer(path)
    with catching_panics():  # it may convert a vocabulary of another format
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    tokenizer.model_max_length = sys.maxsize  # prompts that are too long raise, without a warning
    if backend := getattr(tokenizer, "backend_tokenizer", None):
        backend.no_truncation()  # set for training; a prompt that is too long must raise
        backend.no_padding()
        with tempfile.TemporaryDirectory() as directory:  # it may differ from the file
            backend.save(f"{directory}/{TOKENIZER}")
            try_tokenizer(Path(directory) / TOKENIZER)
    return tokenizer


def tokenizer_files(source: str) -> Sequence[Path]:
    """Return the paths of a base model's ``tokenizer*.json``; may be empty.

    Raises:
        UnreadableError: a template or vocabulary in the directory is not a regular file, or is
            too large.
    """
    directory = Path(source)
    if not directory.is_dir():
        found = hub_file(source, TOKENIZER)
        return [Path(found)] if found else []
    for pattern in TEXTS:
        for path in directory.glob(pattern):
            check_regular(path, LARGEST)
    return sorted(path for path in directory.glob("tokenizer*.json") if path.name != CONFIG)
