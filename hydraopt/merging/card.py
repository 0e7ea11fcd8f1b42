"""The description and the README of a merged directory."""

import json
from pathlib import Path

from ..errors import BundleError

FORMAT_VERSION = 1


def read_description(path: Path) -> dict:
    """Read ``merged.json``; raises ``BundleError`` if it is missing, damaged or too new."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        version = about["format_version"]
    except FileNotFoundError:
        raise BundleError(
            f"{path} is missing; expected a directory that `hydraopt merge` wrote"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} is damaged ({error}); merge again") from error
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path} has format version {version}, expected {FORMAT_VERSION}; update hydraopt"
        )
    return about


def write_card(directory: Path, about: dict) -> None:
    """Write a README.md that says what the merged directory holds and how to use it."""
    settings = ", ".join(f"{key} {value}" for key, value in about["settings"].items())
    share = about["stored_bytes"] / about["adapter_bytes"]
    lines = [
        f"# {len(about['tasks'])} LoRA adapters of {about['base_model']}, merged",
        "",
        f"Method: {about['method']} ({settings}). "
        f"Storage: {about['stored_bytes']:,} bytes, {share:.1%} of the adapters' fp16 bytes.",
        "",
        "```",
        "hydraopt info .",
        f"hydraopt unmerge . --task {about['tasks'][0]} -o adapter/   # back to PEFT",
        f"hydraopt export . --base {about['base_model']} -o bundle/",
        "```",
        "",
        "Tasks: " + ", ".join(about["tasks"]),
        "",
    ]
    (directory / "README.md").write_text("\n".join(lines), encoding="utf-8")
