"""``hydraopt recipe``: from adapters of a model family to a checked bundle in one command."""

import sys
import warnings
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.console import Console

from ..errors import UsageError
from ..progress import showing_stages
from ..recipes import Name
from ..schemes import DEFAULT_SCHEME
from . import records, report
from .options import MOST, ChatArguments, Json, Output, Overwrite, SchemeName
from .parsing import arguments


def recipe(
    family: Annotated[Name, typer.Argument(help="Model family.")],
    bundle: Output,
    adapters: Annotated[
        list[str] | None, typer.Option(help="PEFT directory or hub id, or NAME=SOURCE; repeatable.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Base model, directory or hub id; by default the family's usual one."),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            help="Byte budget: a share of the adapters' fp16 bytes, or a size such as 12MB."
        ),
    ] = "7%",
    quantize: Annotated[
        SchemeName,
        typer.Option(help="Quantization scheme of the base's linear layers; none for float32."),
    ] = DEFAULT_SCHEME,
    max_length: Annotated[
        int | None,
        typer.Option(max=MOST, help="Length of the KV cache, or of the longest text, in tokens."),
    ] = None,
    tiny: Annotated[
        bool,
        typer.Option(
            "--tiny", help="Use a tiny model with random weights and adapters; downloads nothing."
        ),
    ] = False,
    chat_template_arg: ChatArguments = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Compress, export, verify and time the adapters of a known model family."""
    if bool(adapters) == tiny:
        raise UsageError("pass --adapters DIR for each of your adapters, or --tiny alone")
    chat = arguments("--chat-template-arg", chat_template_arg or ())
    warnings.simplefilter("ignore", FutureWarning)  # libraries warn about each other
    from transformers.utils import logging

    from .. import recipes
    from ..lowering.settings import ExportSettings
    from ..recipes.export import export
    from ..recipes.tiny import TINY_BUDGET, tiny_family

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    found = recipes.find_family(family)
    source = tiny_family(found) if tiny else nullcontext((base or found.base, adapters or []))
    # its own console: standard error is captured while the exporter runs
    status = Console(file=sys.stderr).status("Compressing the adapters")
    with source as (where, sources), status, showing_stages(status.update):
        record = export(
            sources,
            where,
            bundle,
            TINY_BUDGET if tiny else budget,
            ExportSettings(quantize, max_length=max_length),
            chat_arguments=chat,
            overwrite=overwrite,
        )
    report.show(records.describe(bundle) | record, as_json)
