"""``hydraopt info`` and ``unmerge``: what a directory holds, and a task as a plain adapter."""

from pathlib import Path
from typing import Annotated

import typer

from . import report
from .options import Json, Output, Overwrite


def info(
    path: Annotated[Path, typer.Argument(help="An adapter, a set of adapters or a bundle.")],
    as_json: Json = False,
) -> None:
    """Show tasks, modules and bytes; of a set of adapters also the error of each."""
    report.show_info(path, as_json)


def unmerge(
    adapters: Annotated[Path, typer.Argument(help="What `compress` or `merge` wrote.")],
    task: Annotated[str, typer.Option(help="Write the adapter of this task.")],
    adapter: Output,
    overwrite: Overwrite = False,
) -> None:
    """Write one task of a set of adapters back as a plain PEFT adapter."""
    from ..packing import open_stored

    open_stored(adapters).to_peft(task, adapter, overwrite=overwrite)
