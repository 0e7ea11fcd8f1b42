"""The files of a base model's directory: opened once, before libraries trust them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from ..reading import UnreadableError, check_regular, check_tensors, file_json, shortened

CONFIG, ADAPTER = "config.json", "adapter_config.json"
PIPELINE = "model_index.json"  # of diffusers
FOLDERS = "", "additional_chat_templates"  # in which transformers opens files
NUMBER = 5 * "[0-9]"
DISTRIBUTED = f"shard-{NUMBER}-model-{NUMBER}-of-{NUMBER}.safetensors"  # goes before all others
INDEX = ".index.json"  # names the shards of what is before it
WEIGHTS = "model.safetensors", "pytorch_model.bin"  # transformers takes the first that exists


class UnfitError(ValueError):
    """Why a base model cannot be used, and what to do: a predicate to put after its name."""


def check_files(directory: Path) -> None:
    """Refuse a directory that is something else than one base model, or that nobody should open.

    Raises:
        UnfitError: an adapter, a base with an adapter beside it, a diffusion pipeline, or what
            the processes of a training saved, each its part.
        UnreadableError: what is no regular file, broken JSON, or weights that are missing, cut or
            outside of the directory.
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
            f"holds what the processes of a training saved ({part.name}), each its part; save the "
            "model as a whole"
        )
    if (directory / PIPELINE).exists() and not model:
        raise UnfitError(
            f"is a diffusion pipeline ({PIPELINE}), expected a causal language model, a text "
            "encoder or an image model; pass one of these"
        )


def adapter_in_base() -> UnfitError:
    """The error for a base model that holds an adapter as well."""
    return UnfitError(
        f"also holds an adapter ({ADAPTER}), which transformers would add to its weights; move "
        f"{ADAPTER} and adapter_model.* elsewhere, or merge them into the base"
    )


def _weights(directory: Path) -> Iterator[str]:
    """Names of the files of weights that transformers opens, as they are given."""
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
    """The files that an index of shards names."""
    fields = index if isinstance(index, dict) else {}
    parts = fields.get("weight_map")
    if not isinstance(parts, dict) or not parts or "metadata" not in fields:
        raise UnreadableError("no index of shards, expected metadata and a weight_map")
    return sorted({str(name) for name in parts.values()})


def _inside(directory: Path, name: object) -> Path:
    path = PurePath(str(name))
    if path.is_absolute() or ".." in path.parts:
        raise UnreadableError(f"weights outside of the directory: {shortened(name)}")
    return directory / path


@contextmanager
def _named(name: object) -> Iterator[None]:
    """Put the name of a file before what is wrong with it."""
    try:
        yield
    except UnreadableError as error:
        raise UnreadableError(f"{shortened(name)}: {error}") from None
