"""``hydraopt demo``: the whole workflow on the bundled zoo."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from . import records, report
from .options import MOST, Json, Output, Overwrite


def demo(
    output: Output = Path("demo"),
    inputs: Annotated[
        int, typer.Option(max=MOST, min=1, help="Test inputs per task, up to 200.")
    ] = 20,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Compress, export, run and measure the bundled zoo of 40 adapters."""
    from ..zoo.demo import run_demo

    console = Console(stderr=as_json)
    figures = run_demo(output, console, inputs=inputs, overwrite=overwrite)
    sizes = records.of_bundle(output / "bundle")
    kept = {key: sizes[key] for key in ("program_bytes", "bytes_per_task")}
    report.show(figures | kept | {"bundle": str(output / "bundle")}, as_json)
