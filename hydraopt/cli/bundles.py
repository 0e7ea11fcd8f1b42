"""``hydraopt export``, ``add``, ``remove`` and ``verify``: bundles, from making to checking."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from . import records, report
from .options import Json, Output, Overwrite


def export(
    merged: Annotated[Path, typer.Argument(help="Merged directory.")],
    base: Annotated[str, typer.Option(help="Base model: directory or hub id.")],
    bundle: Output,
    quantize: Annotated[
        Literal["none", "8da4w"], typer.Option(help="Quantisation of the base.")
    ] = "none",
    embedding: Annotated[
        Literal["4w", "8w", "none"] | None,
        typer.Option(help="Token embedding; by default 4w if the base is quantised."),
    ] = None,
    attention: Annotated[
        Literal["llm", "portable"],
        typer.Option(help="ExecuTorch's operators for LLMs, or operators of every runtime."),
    ] = "llm",
    swap: Annotated[
        Literal["inputs", "methods", "data"] | None,
        typer.Option(
            help="Factors as inputs (default), one method per task, or a .ptd file per task."
        ),
    ] = None,
    static: Annotated[
        bool, typer.Option("--static", help="One adapter for all tasks, put into the weights.")
    ] = False,
    max_length: Annotated[int | None, typer.Option(help="Positions of the KV cache.")] = None,
    prefill_length: Annotated[
        int | None, typer.Option(help="Most tokens of one call; longer prompts go in pieces.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Lower base and adapters into one ExecuTorch program and write a bundle."""
    from ..lowering.bundle import export_bundle
    from ..lowering.form import Form
    from ..lowering.static import is_static, read_static
    from ..packing import open_merged
    from ..progress import shown_by

    form = Form(quantize, embedding, attention, max_length, prefill_length)
    # a console of its own: what the exporter prints on the standard error is caught
    console = Console(file=sys.stderr)
    with console.status("Loading the base model") as status, shown_by(status.update):
        adapters = read_static(merged) if static or is_static(merged) else open_merged(merged)
        exported = export_bundle(adapters, base, bundle, form, swap=swap, overwrite=overwrite)
    report.show_export(exported, records.describe(bundle), as_json)


def add(
    bundle: Annotated[Path, typer.Argument(help="Bundle to add to.")],
    adapter: Annotated[str, typer.Argument(help="PEFT directory or hub id.")],
    task: Annotated[str, typer.Option(help="Name of the new task.")],
    as_json: Json = False,
) -> None:
    """Code a new adapter into a bundle; the program and all other packs stay as they are."""
    from ..lowering.growth import add_task

    report.show(records.of_tasks(add_task(bundle, adapter, task))[0], as_json)


def remove(
    bundle: Annotated[Path, typer.Argument(help="Bundle to take from.")],
    task: Annotated[str, typer.Option(help="Task to take out.")],
) -> None:
    """Take a task out of a bundle."""
    from ..lowering.growth import remove_task

    remove_task(bundle, task)


def verify(bundle: Annotated[Path, typer.Argument(help="Bundle.")], as_json: Json = False) -> None:
    """Check every file of a bundle, load its program and switch to every task."""
    from ..runtime import verify as verify_bundle

    report.show(verify_bundle(bundle), as_json)
