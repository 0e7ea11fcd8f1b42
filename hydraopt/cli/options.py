"""Options that several commands have, and where their messages go."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer
from rich.console import Console

from ..lowering.backends import BACKENDS
from ..schemes import EMBEDDING_BITS, SCHEMES

messages = Console(stderr=True)

MOST = (1 << 31) - 1  # of whatever is counted


def finite(value: float | None) -> float | None:
    """Callback of options that take a number: refuses NaN and infinity, which no range does."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number")
    return value


def written(path: Path) -> Path:
    """Callback of options that name an output: its name is put into JSON, which is UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise typer.BadParameter(f"{str(path)!r} is no UTF-8") from None
    return path


if TYPE_CHECKING:
    SchemeName: TypeAlias = str
    EmbeddingName: TypeAlias = str
    BackendName: TypeAlias = str
else:  # the names that are registered, which no type checker reads
    SchemeName = Literal[tuple(SCHEMES)]
    EmbeddingName = Literal[tuple(EMBEDDING_BITS)]
    BackendName = Literal[tuple(BACKENDS)]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", callback=written, help="Write to this directory.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
ChatArguments = Annotated[
    list[str] | None,
    typer.Option(
        "--chat-template-arg",
        metavar="NAME=VALUE",
        help="Give this variable to the base's chat template, such as enable_thinking=false.",
    ),
]
Sources = Annotated[
    list[str],
    typer.Argument(help="Read these PEFT directories or hub ids; NAME=SOURCE names a task."),
]
