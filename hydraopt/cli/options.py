"""Options of several commands, and the console for messages."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer
from rich.console import Console

from ..lowering.backends import BACKENDS
from ..schemes import EMBEDDING_BITS, SCHEMES

messages = Console(stderr=True)

MOST = (1 << 31) - 1  # upper limit of counts


def finite(value: float | None) -> float | None:
    """Option callback: refuse NaN and infinity, which Typer's ranges accept."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def written(path: Path | None) -> Path | None:
    """Option callback: refuse output paths that are not UTF-8, as they are written to JSON."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise typer.BadParameter(f"{str(path)!r} is not UTF-8") from None
    return path


if TYPE_CHECKING:
    SchemeName: TypeAlias = str
    EmbeddingName: TypeAlias = str
    BackendName: TypeAlias = str
else:  # the registered names, which type checkers cannot read
    SchemeName = Literal[tuple(SCHEMES)]
    EmbeddingName = Literal[tuple(EMBEDDING_BITS)]
    BackendName = Literal[tuple(BACKENDS)]

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Output = Annotated[Path, typer.Option("--output", "-o", callback=written, help="Output directory.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing output directory.")
]
ChatArguments = Annotated[
    list[str] | None,
    typer.Option(
        "--chat-template-arg",
        metavar="NAME=VALUE",
        help="Chat template variable, such as enable_thinking=false; repeatable.",
    ),
]
Temperature = Annotated[
    float, typer.Option(callback=finite, help="Sampling temperature; 0 is greedy.")
]
TopP = Annotated[
    float | None,
    typer.Option(
        callback=finite,
        help="Sample from the most likely tokens that together have this probability.",
    ),
]
TopK = Annotated[
    int | None, typer.Option(max=MOST, help="Sample from this many of the most likely tokens.")
]
Seed = Annotated[int | None, typer.Option(help="Random seed; equal seeds give equal texts.")]
Stop = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", help="End before this text; repeatable."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--override",
        metavar="LAYER=SCHEME",
        help="Other scheme for layers by name or pattern, such as lm_head=8da8w; repeatable.",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Modules in work at a time; by default one for each core."),
]
ClusterName = Annotated[
    str | None,
    typer.Option("--cluster", help="Work on a cluster instead: dask or ray."),
]
ClusterAddress = Annotated[
    str | None,
    typer.Option("--address", help="Address of the cluster; Ray's is found on its own nodes."),
]
Sources = Annotated[
    list[str],
    typer.Argument(
        help="PEFT directories or hub ids, one per task; NAME=SOURCE sets the task's name."
    ),
]
