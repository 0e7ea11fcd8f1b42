"""Base models from GGUF files, the form in which llama.cpp keeps them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .bases.files import UnfitError
from .errors import BaseModelError
from .files import Output, output_directory
from .reading import UnreadableError, check_regular, shortened

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAGIC = b"GGUF"
LARGEST = 1 << 40  # bytes of a file
WHOLE = "pass a whole one (llama.cpp's llama-gguf-split --merge joins parts)"
BASE = Output("config.json", "model_type", ("*.json", "*.safetensors", "*.jinja", "merges.txt"))


def convert_gguf(file: Path, directory: Path, *, overwrite: bool = False) -> "PreTrainedModel":
    """Write the causal language model of a GGUF file as a Hugging Face directory.

    The weights are dequantised and written as float16 safetensors, beside the tokenizer with its
    chat template and the generation configuration with the end token.

    Args:
        file: the GGUF file, of an architecture that transformers reads.
        directory: the base model to write; whole or not at all.
        overwrite: replace an existing ``directory``.

    Returns:
        The model that was written.

    Raises:
        BaseModelError: no such file, no GGUF file, a damaged one, or an unknown architecture.
        OutputError: ``directory`` exists and ``overwrite`` is false, or it cannot be written.
    """
    _check_magic(file)
    with output_directory(directory, BASE, overwrite=overwrite) as staging:
        model, tokenizer = _read(file)
        _save(model, staging)
        tokenizer.save_pretrained(staging)
    return model


def _check_magic(file: Path) -> None:
    try:
        check_regular(file, LARGEST)
        with file.open("rb") as opened:
            found = opened.read(len(MAGIC))
    except (UnreadableError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BaseModelError(
            f"cannot read {file} ({reason}); pass the .gguf file of a language model"
        ) from None
    if found != MAGIC:
        raise BaseModelError(
            f"{file} is no GGUF file: it starts with {found!r}, expected {MAGIC!r}; pass the "
            ".gguf file of a language model"
        )


def _read(file: Path) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """The model in float16 and its tokenizer."""
    import accelerate  # noqa: F401  # transformers needs both, and its own message is a page
    import gguf  # noqa: F401
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from .bases.weights import check_whole

    try:
        with _alone(file) as where:
            tokenizer = AutoTokenizer.from_pretrained(**where, trust_remote_code=False)
            model, found = AutoModelForCausalLM.from_pretrained(
                **where,
                trust_remote_code=False,
                dtype=torch.float16,
                quantization_config=GgufConfig(dequantize=True),
                ignore_mismatched_sizes=True,  # they are among what was found
                output_loading_info=True,
            )
        check_whole(model, found, step=WHOLE)
    except UnfitError as error:
        raise BaseModelError(f"{file} {error}") from None
    except Exception as error:  # what is raised depends on where the damage is; tokenizers' is bare
        reason = shortened(error) or type(error).__name__
        raise BaseModelError(
            f"cannot read {file} ({reason}); expected a whole GGUF file of a causal language "
            f"model whose architecture transformers reads; {WHOLE}"
        ) from error
    return model, tokenizer


@contextmanager
def _alone(file: Path) -> Iterator[dict[str, str]]:
    """Where transformers finds a file, without others: adapters beside it would be added."""
    with TemporaryDirectory() as directory:
        (Path(directory) / "model.gguf").symlink_to(file.resolve())
        yield {"pretrained_model_name_or_path": directory, "gguf_file": "model.gguf"}


def _save(model: "PreTrainedModel", directory: Path) -> None:
    from safetensors import SafetensorError

    try:
        model.save_pretrained(directory)
    except SafetensorError as error:  # a full disk, for example
        raise OSError(str(error)) from error
