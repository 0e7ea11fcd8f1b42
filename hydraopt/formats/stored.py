"""``adapters.json``: the description of compressed or merged adapters."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from ..documents import read_document, sealed
from ..errors import BundleError
from ..files import write_bytes
from .layout import LAYOUT
from .pack import Pack
from .records import check_files, parse_records, records

FORMAT_VERSION = 5
DESCRIPTION = "adapters.json"
TENSORS = "merged.safetensors"  # of merged adapters; compressed adapters have a layout and packs
ROUNDED = "base.safetensors"  # integers of the base, if the packs were calibrated for them
STORED = "set of adapters"


def write_description(
    directory: Path,
    about: Mapping[str, object],
    files: tuple[str, ...],
    packs: Mapping[str, Pack] | None = None,
) -> None:
    """Write ``adapters.json``, after the files that it describes.

    Args:
        directory: directory of the compressed or merged adapters.
        about: method, settings, base model, tasks, modules, sizes and errors.
        files: names of the files of factors other than packs.
        packs: task -> location of its pack; None for merged adapters.
    """
    fields = {
        "format_version": FORMAT_VERSION,
        **about,
        "packs": packs and {task: asdict(pack) for task, pack in packs.items()},
        "files": records(directory, files),
    }
    write_bytes(directory / DESCRIPTION, sealed(fields))


def read_description(directory: Path) -> dict:
    """Read ``adapters.json``, with ``packs`` as :class:`Pack`, and check the files that it names.

    Raises:
        BundleError: a file is missing, damaged, modified or of another format version.
    """
    path = directory / DESCRIPTION
    fields = read_document(path, "adapters", FORMAT_VERSION, _writer(directory))
    packs = fields["packs"]
    verb = "merge" if packs is None else "compress"
    if packs is not None and packs.keys() != {*fields["tasks"]}:
        raise BundleError(f"{path} is damaged: its packs do not fit its tasks; {verb} again")
    fields["packs"] = packs and {task: Pack(**pack) for task, pack in packs.items()}
    check_files(directory, parse_records(fields["files"]), verb)
    return fields


def _writer(directory: Path) -> str:
    """Guess from the other files which command wrote a directory with a damaged description."""
    commands = {LAYOUT: "hydraopt compress", TENSORS: "hydraopt merge"}
    found = [command for file, command in commands.items() if (directory / file).exists()]
    return found[0] if len(found) == 1 else "` or `".join(commands.values())
