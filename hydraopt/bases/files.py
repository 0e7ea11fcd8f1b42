"""Check the files of a base model's directory before libraries open them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from ..reading import UnreadableError, check_regular, check_tensors, file_json, shortened

CONFIG, ADAPTER = "config.json", "adapter_config.json"
PIPELINE = "model_index.json"  # of diffusers
FOLDERS = "", "additional_chat_templates"  # from which transformers reads files
NUMBER = 5 * "[0-9]"
DISTRIBUTED = f"shard-{NUMBER}-model-{NUMBER}-of-{NUMBER}.safetensors"  # preferred to all others
INDEX = ".index.json"  # suffix of the file that lists the shards
WEIGHTS = "model.safetensors", "pytorch_model.bin"  # transformers reads the first that exists


class UnfitError(ValueError):
    """A base model cannot be used. The message is a predicate that follows the model's name."""


def check_files(directory: Path) -> None:
    """Check that a directory holds one base model whose files are safe to open.

    Raises:
        UnfitError: the directory holds an adapter, a diffusion pipeline or a distributed
            checkpoint.
        UnreadableError: a file is not regular, JSON is invalid, or weights are missing, truncated
            or outside the directory.
    """
    for folder in FOLDERS:
        for path in sorted((directory / folder).glob("*")):
            with _named(path.relative_to(directory)):
                if path.suffix == ".json":
                    file_json(path)
                elif not path.is_dir():
                    check_regular(path)
    _check_purpose(directory)
    for name in _weights(directory):
        path = _inside(directory, name)
        with _named(name):
            check_regular(path)
            if path.suffix == ".safetensors":
                check_tensors(path)


def _check_purpose(directory: Path) -> None:
    model = (directory / CONFIG).exists()
    if (directory / ADAPTER).exists():
        if model:
            raise adapter_in_base()
        raise UnfitError(
            f"is an adapter ({ADAPTER} without {CONFIG}); pass the base model that it is for"
        )
    if part := next(directory.glob(DISTRIBUTED), None):
        raise UnfitError(
            f"holds a distributed checkpoint ({part.name}), expected one model; save the whole "
            "model with save_pretrained"
        )
    if (directory / PIPELINE).exists() and not model:
        raise UnfitError(
            f"is a diffusion pipeline ({PIPELINE}), expected a causal language model, a text "
            "encoder or an image model; pass one of these"
        )


def adapter_in_base() -> UnfitError:
    """Return the error for a base model whose directory also holds an adapter."""
    return UnfitError(
        f"also holds an adapter ({ADAPTER}), which transformers would add to its weights; move "
        f"{ADAPTER} and adapter_model.* elsewhere, or merge them into the base"
    )


def _weights(directory: Path) -> Iterator[str]:
    """Yield the names of the weight files that transformers opens."""
    config = file_json(directory / CONFIG) if (directory / CONFIG).exists() else {}
    chosen = config.get("transformers_weights") if isinstance(config, dict) else None
    usual = [name + end for name in WEIGHTS for end in ("", INDEX)]
    for name in [str(chosen)] if chosen else usual:
        if _inside(directory, name).exists():
            yield name
            if name.endswith(INDEX):
                with _named(name):
                    yield from _shards(file_json(directory / name))
            return


def _shards(index: object) -> list[str]:
    """Return the files that a shard index names."""
    fields = index if isinstance(index, dict) else {}
    parts = fields.get("weight_map")
    if not isinstance(parts, dict) or not parts or "metadata" not in fields:
        raise UnreadableError("not a shard index, expected metadata and a weight_map")
    return sorted({str(name) for name in parts.values()})


def _inside(directory: Path, name: object) -> Path:
    path = PurePath(str(name))
    if path.is_absolute() or ".." in path.parts:
        raise UnreadableError(f"weights outside the directory: {shortened(name)}")
    return directory / path


@contextmanager
def _named(name: object) -> Iterator[None]:
    """Prefix errors with the name of a file."""
    try:
        yield
    except UnreadableError as error:
        raise UnreadableError(f"{shortened(name)}: {error}") from None
