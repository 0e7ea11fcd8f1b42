"""Convert base models from GGUF, the file format of llama.cpp."""

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
    """Convert a GGUF file of a causal language model to a Hugging Face directory.

    Weights are dequantised to float16 safetensors. The tokenizer with its chat template and the
    generation configuration with the end token are written beside them.

    Args:
        file: a GGUF file of an architecture that transformers reads.
        directory: output directory, written atomically.
        overwrite: replace an existing ``directory``.

    Returns:
        The converted model.

    Raises:
        BaseModelError: ``file`` is missing, damaged, one part of a split, or not GGUF; or
            transformers does not read its architecture or tensors.
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
            f"{file} is not a GGUF file: it starts with {found!r}, expected {MAGIC!r}; pass the "
            ".gguf file of a language model"
        )


def _read(file: Path) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load the model in float16 and its tokenizer."""
    import accelerate  # noqa: F401  # transformers needs both; its own message fills a page
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
                ignore_mismatched_sizes=True,  # check_whole reports them
                output_loading_info=True,
            )
        check_whole(model, found, step=WHOLE)
        _check_taken(model, tensors)
    except UnfitError as error:
        raise BaseModelError(f"{file} {error}") from None
    except Exception as error:  # any type, by the kind of damage; tokenizers raises plain Exception
        reason = shortened(error) or type(error).__name__
        raise BaseModelError(
            f"cannot read {file} ({reason}); expected a whole GGUF file of a causal language "
            f"model whose architecture transformers reads; {WHOLE}"
        ) from error
    return model, tokenizer


def _scale_rope(config: "PretrainedConfig", tensors: dict[str, "ReaderTensor"]) -> None:
    """Apply Llama 3's RoPE frequency factors, and remove them from ``tensors``.

    transformers ignores them. They equal longrope with the same factors for short and long texts.
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
    """Refuse a file with more values than the model, which transformers drops silently."""
    tied = {"output.weight"} if model.config.tie_word_embeddings else set()
    stored = sum(int(x.n_elements) for name, x in tensors.items() if name not in tied)
    if (more := stored - model.num_parameters()) > 0:
        raise UnfitError(
            f"has {more:,} values for which transformers' {type(model).__name__} has no place, "
            "expected none; pass the Hugging Face directory of this model instead"
        )


@contextmanager
def _alone(file: Path) -> Iterator[dict[str, str]]:
    """Yield loading arguments for a directory with this file only.

    transformers would add an adapter that lies beside it.
    """
    with TemporaryDirectory() as directory:
        (Path(directory) / "model.gguf").symlink_to(file.resolve())
        yield {"pretrained_model_name_or_path": directory, "gguf_file": "model.gguf"}


def _save(model: "PreTrainedModel", directory: Path) -> None:
    from safetensors import SafetensorError

    try:
        model.save_pretrained(directory)
    except SafetensorError as error:  # a full disk, for example
        raise OSError(str(error)) from error
