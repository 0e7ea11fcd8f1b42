"""``hydraopt evaluate``: scores of a bundle's tasks through its program."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ..reading import shortened
from . import report
from .options import Json, written


def _png(path: Path | None) -> Path | None:
    """Option callback: refuse other files than PNGs."""
    if path is not None and path.suffix != ".png":
        raise typer.BadParameter(f"{shortened(path)!r} does not end in .png")
    return path and written(path)


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Bundle to evaluate.")],
    examples: Annotated[
        Path, typer.Option(help="Test examples: JSON lines of task, prompt and answer.")
    ],
    chat: Annotated[
        bool, typer.Option("--chat", help="Apply the base model's chat template to each prompt.")
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(help="Score the base model, too, in float32: directory or hub id."),
    ] = None,
    adapters: Annotated[
        list[str] | None,
        typer.Option(help="With --base: original adapter, PEFT directory or hub id; repeatable."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another bundle to score on the same examples.")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.png",
            callback=_png,
            help="Plot the tasks' scores in a new file.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Score each task on test examples, through the program as an app runs it."""
    if (base is None) != (not adapters):
        raise UsageError("--base and --adapters go together; pass both, or neither")
    from ..evaluation.program import chart
    from ..evaluation.program import evaluate as evaluate_bundle
    from ..files import check_new, new_file

    if picture is not None:
        check_new(picture)
    evaluation = evaluate_bundle(
        bundle, examples, chat=chat, base=base, adapters=adapters or (), against=against
    )
    if picture is not None:
        with new_file(picture) as new:
            new.write_bytes(chart(evaluation))
    report.show_evaluation(evaluation, as_json)
