"""``hydraopt info`` and ``unmerge``: inspect a directory, write one task back as an adapter."""

from pathlib import Path
from typing import Annotated

import typer

from . import report
from .options import Json, Output, Overwrite


def info(
    path: Annotated[
        Path, typer.Argument(help="Adapter, compressed or merged adapters, or bundle.")
    ],
    as_json: Json = False,
) -> None:
    """Show what a directory holds: tasks, modules, bytes, approximation errors."""
    report.show_info(path, as_json)


def unmerge(
    adapters: Annotated[Path, typer.Argument(help="Directory written by `compress` or `merge`.")],
    task: Annotated[str, typer.Option(help="Task to write.")],
    adapter: Output,
    overwrite: Overwrite = False,
) -> None:
    """Write one task of compressed or merged adapters back as a PEFT adapter."""
    from ..packing import open_stored

    open_stored(adapters).to_peft(task, adapter, overwrite=overwrite)
