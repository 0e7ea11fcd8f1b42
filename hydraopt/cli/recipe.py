"""``hydraopt recipe``: a family of models, from adapters to a checked bundle in one command."""

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
    family: Annotated[Name, typer.Argument(help="Export a model of this family.")],
    bundle: Output,
    adapters: Annotated[
        list[str] | None, typer.Option(help="Read this PEFT directory or hub id; repeat it.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Lower this base model, a directory or hub id, not the family's own."),
    ] = None,
    budget: Annotated[
        str, typer.Option(help="Use at most so much of the adapters' fp16 bytes, or bytes.")
    ] = "7%",
    quantize: Annotated[
        SchemeName,
        typer.Option(help="Quantization scheme of the base's linear layers; none for float32."),
    ] = DEFAULT_SCHEME,
    max_length: Annotated[
        int | None, typer.Option(max=MOST, help="Length of the KV cache or of a text, in tokens.")
    ] = None,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Try it with random weights and adapters, no download.")
    ] = False,
    chat_template_arg: ChatArguments = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Compress, export, verify and time adapters of a well-known family of models."""
    if bool(adapters) == tiny:
        raise UsageError("pass --adapters DIR for each of your adapters, or --tiny alone")
    chat = arguments("--chat-template-arg", chat_template_arg or ())
    warnings.simplefilter("ignore", FutureWarning)  # of libraries, about each other
    from transformers.utils import logging

    from .. import recipes
    from ..lowering.settings import ExportSettings
    from ..recipes.export import export
    from ..recipes.tiny import TINY_BUDGET, tiny_family

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    found = recipes.find_family(family)
    source = tiny_family(found) if tiny else nullcontext((base or found.base, adapters or []))
    # a console of its own: what the exporter prints on the standard error is caught
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
