"""``hydraopt base``: convert base models from other formats."""

from pathlib import Path
from typing import Annotated

import typer

from . import report
from .options import Json, Output, Overwrite

base = typer.Typer(help="Convert a base model from another format.", no_args_is_help=True)


@base.callback()
def group() -> None:
    """Convert a base model from another format."""


@base.command()
def from_gguf(
    file: Annotated[Path, typer.Argument(help="GGUF file of a causal language model.")],
    output: Output,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Convert a GGUF file to a Hugging Face directory with float16 weights and tokenizer."""
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
