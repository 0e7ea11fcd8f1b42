"""Options that several commands have, and where their messages go."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

messages = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Write to this directory.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Sources = Annotated[
    list[str],
    typer.Argument(help="Read these PEFT directories or hub ids; NAME=SOURCE names a task."),
]
