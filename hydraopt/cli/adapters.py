"""``hydraopt info`` and ``unmerge``: what a directory holds, and a task as a plain adapter."""

from pathlib import Path
from typing import Annotated

import typer

from . import report
from .options import Json, Output, Overwrite


def info(
    path: Annotated[
        Path, typer.Argument(help="Describe this adapter, merged directory or bundle.")
    ],
    as_json: Json = False,
) -> None:
    """Show tasks, modules and bytes; of merged adapters also the error of each."""
    report.show_info(path, as_json)


def unmerge(
    merged: Annotated[Path, typer.Argument(help="Read this merged directory.")],
    task: Annotated[str, typer.Option(help="Write the adapter of this task.")],
    adapter: Output,
    overwrite: Overwrite = False,
) -> None:
    """Write one task of a merged directory back as a plain PEFT adapter."""
    from ..packing import open_merged

    open_merged(merged).to_peft(task, adapter, overwrite=overwrite)
