"""The application with all commands."""

import logging
import sys
from functools import partial
from typing import Annotated

import typer
from rich.logging import RichHandler

from ..shown import visible
from . import (
    adapters,
    base,
    bundles,
    chat,
    compress,
    demo,
    evaluate,
    frontier,
    merge,
    profile,
    recipe,
    run,
    sparse,
    train,
)
from .ending import run_command_line
from .options import messages

app = typer.Typer(
    help="Many LoRA adapters of one base model in one ExecuTorch program.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    compress.compress,
    merge.merge,
    merge.methods,
    adapters.info,
    adapters.unmerge,
    bundles.export,
    bundles.add,
    bundles.install,
    bundles.remove,
    bundles.verify,
    recipe.recipe,
    run.run,
    chat.chat,
    evaluate.evaluate,
    profile.profile,
    profile.compare,
    frontier.frontier,
    demo.demo,
):
    app.command()(command)
for name, group in {
    "base": base.base,
    "train": train.train,
    "sparse": sparse.sparse,
    "emulator": profile.emulator,
}.items():
    app.add_typer(group, name=name)


class Visible(logging.Formatter):
    """Escapes control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; only a traceback has several lines."""
        return visible(super().format(record), keep="\n")


@app.callback()
def options(
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Log progress, and tracebacks of unexpected errors."),
    ] = False,
) -> None:
    """Many LoRA adapters of one base model in one ExecuTorch program."""
    handler = RichHandler(console=messages, show_path=False)
    handler.setFormatter(Visible("%(message)s"))
    logging.basicConfig(level=logging.ERROR, handlers=[handler], force=True)
    logging.getLogger("hydraopt").setLevel(logging.INFO if verbose else logging.WARNING)


def main(*first: str) -> None:
    """Run the command line, whose arguments come after ``first``."""
    run_command_line(partial(app, [*first, *sys.argv[1:]], standalone_mode=False))
