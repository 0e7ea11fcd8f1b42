"""Base models from GGUF files, the form in which llama.cpp keeps them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .bases.files import UnfitError
from .confined import catching_panics
from .errors import BaseModelError
from .files import output_directory
from .reading import UnreadableError, check_regular, shortened

if TYPE_CHECKING:
    from gguf import ReaderTensor
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

MAGIC = b"GGUF"
LARGEST = 1 << 40  # bytes of a file
WHOLE = "pass a whole one (llama.cpp's llama-gguf-split --merge joins parts)"
ROPE = "rope_freqs.weight"
BASE = "base model"


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
        BaseModelError: no such file, no GGUF file, a damaged one or a part, an unknown
            architecture, or tensors that transformers does not read.
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
    import gguf
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from .bases.weights import check_whole

    try:
        with _alone(file) as where:
            tensors = {x.name: x for x in gguf.GGUFReader(file).tensors}
            with catching_panics():
                tokenizer = AutoTokenizer.from_pretrained(**where, trust_remote_code=False)
            config = AutoConfig.from_pretrained(**where, trust_remote_code=False)
            _scale_rope(config, tensors)
            model, found = AutoModelForCausalLM.from_pretrained(
                **where,
                config=config,
                trust_remote_code=False,
                dtype=torch.float16,
                quantization_config=GgufConfig(dequantize=True),
                ignore_mismatched_sizes=True,  # they are among what was found
                output_loading_info=True,
            )
        check_whole(model, found, step=WHOLE)
        _check_taken(model, tensors)
    except UnfitError as error:
        raise BaseModelError(f"{file} {error}") from None
    except Exception as error:  # what is raised depends on where the damage is; tokenizers' is bare
        reason = shortened(error) or type(error).__name__
        raise BaseModelError(
            f"cannot read {file} ({reason}); expected a whole GGUF file of a causal language "
            f"model whose architecture transformers reads; {WHOLE}"
        ) from error
    return model, tokenizer


def _scale_rope(config: "PretrainedConfig", tensors: dict[str, "ReaderTensor"]) -> None:
    """Take out of ``tensors`` what Llama 3 divides its rope's frequencies by.

    transformers leaves it out. It is a longrope with the same factors for short and long texts.
    """
    if (found := tensors.pop(ROPE, None)) is not None:
        factors = [float(x) for x in found.data]
        config.rope_parameters = {
            **config.rope_parameters,
            "rope_type": "longrope",
            "short_factor": factors,
            "long_factor": factors,
            "factor": 1.0,
            "attention_factor": 1.0,
            "original_max_position_embeddings": config.max_position_embeddings,
        }


def _check_taken(model: "PreTrainedModel", tensors: Mapping[str, "ReaderTensor"]) -> None:
    """Refuse a file with more values than the model: of these transformers says nothing."""
    tied = {"output.weight"} if model.config.tie_word_embeddings else set()
    stored = sum(int(x.n_elements) for name, x in tensors.items() if name not in tied)
    if (more := stored - model.num_parameters()) > 0:
        raise UnfitError(
            f"has {more:,} values for which transformers' {type(model).__name__} has no place, "
            "expected none; pass the Hugging Face directory of this model instead"
        )


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
