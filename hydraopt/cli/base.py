"""``hydraopt base``: base models from other forms."""

from pathlib import Path
from typing import Annotated

import typer

from . import report
from .options import Json, Output, Overwrite

base = typer.Typer(help="Make a base model from another form.", no_args_is_help=True)


@base.callback()
def group() -> None:
    """Make a base model from another form."""


@base.command()
def from_gguf(
    file: Annotated[Path, typer.Argument(help="Read the causal language model in this GGUF file.")],
    output: Output,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a GGUF file's model and tokenizer as a Hugging Face directory, in float16."""
    from ..gguf import convert_gguf

    model = convert_gguf(file, output, overwrite=overwrite)
    record = {
        "type": "base model",
        "architecture": model.config.model_type,
        "layers": model.config.num_hidden_layers,
        "parameters": model.num_parameters(),
        "bytes": sum(path.stat().st_size for path in output.iterdir()),
    }
    report.show(record, as_json)
