"""``hydraopt export``, ``add``, ``remove`` and ``verify``: bundles, from making to checking."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from ..errors import BundleError, UsageError
from ..lowering.backends import BACKENDS, DEFAULT
from ..progress import showing_stages
from ..schemes import DEFAULT_SCHEME, SCHEMES
from . import records, report
from .child import EndedError, in_child
from .options import (
    MOST,
    BackendName,
    ChatArguments,
    EmbeddingName,
    Json,
    Output,
    Overwrite,
    SchemeName,
    messages,
)
from .parsing import arguments


def export(
    source: Annotated[
        Path,
        typer.Argument(metavar="ADAPTERS", help="What `compress`, `merge` or `train` wrote."),
    ],
    base: Annotated[str, typer.Option(help="Lower this base model, a directory or hub id.")],
    bundle: Output,
    quantize: Annotated[
        SchemeName,
        typer.Option(help="Quantization scheme of the base's linear layers; none for float32."),
    ] = DEFAULT_SCHEME,
    embedding: Annotated[
        EmbeddingName | None,
        typer.Option(help="Quantization scheme of the token embedding; by default --quantize's."),
    ] = None,
    attention: Annotated[
        Literal["llm", "portable"],
        typer.Option(help="Use ExecuTorch's operators for LLMs, or those of every runtime."),
    ] = "llm",
    swap: Annotated[
        Literal["inputs", "methods", "data"] | None,
        typer.Option(
            help="Make factors inputs (the default), or a method or a .ptd file per task."
        ),
    ] = None,
    packs: Annotated[
        Literal["files", "single"],
        typer.Option(help="Write a file for each task's pack, or one file for all of them."),
    ] = "files",
    static: Annotated[
        bool, typer.Option("--static", help="Put one adapter for all tasks into the weights.")
    ] = False,
    max_length: Annotated[
        int | None, typer.Option(max=MOST, help="Give the KV cache so many positions.")
    ] = None,
    prefill_length: Annotated[
        int | None,
        typer.Option(
            max=MOST, help="Take at most so many tokens in a call; longer prompts go in pieces."
        ),
    ] = None,
    backend: Annotated[
        BackendName,
        typer.Option(
            help="What runs the program's matrix products.",
            hidden=len(BACKENDS) == 1,  # there is nothing to choose
        ),
    ] = DEFAULT,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not compare the model with transformers.")
    ] = False,
    chat_template_arg: ChatArguments = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Lower base and adapters into one ExecuTorch program and write a bundle."""
    from ..lowering.bundle import export_bundle
    from ..lowering.opening import open_adapters
    from ..lowering.settings import ExportSettings

    chat = arguments("--chat-template-arg", chat_template_arg or ())
    settings = ExportSettings(quantize, embedding, attention, max_length, prefill_length, backend)
    # a console of its own: what the exporter prints on the standard error is caught
    console = Console(file=sys.stderr)
    with console.status("Loading the base model") as status, showing_stages(status.update):
        exported = export_bundle(
            open_adapters(source, static=static),
            base,
            bundle,
            settings,
            swap=swap,
            single_pack=packs == "single",
            check=not no_check,
            chat_arguments=chat,
            overwrite=overwrite,
        )
    report.show_export(exported, records.describe(bundle), as_json)
    if SCHEMES[quantize].quantizes:
        messages.print(f"The base is quantised, {quantize}; --quantize none for float32")


def add(
    bundle: Annotated[Path, typer.Argument(help="Add to this bundle.")],
    adapter: Annotated[
        str, typer.Argument(help="Add the adapter in this PEFT directory or of this hub id.")
    ],
    task: Annotated[str, typer.Option(help="Name the new task like this.")],
    as_json: Json = False,
) -> None:
    """Code a new adapter into a bundle; the program and all other packs stay as they are."""
    from ..bundles import add_task

    report.show(records.of_tasks(add_task(bundle, adapter, task))[0], as_json)


def remove(
    bundle: Annotated[Path, typer.Argument(help="Take from this bundle.")],
    task: Annotated[str, typer.Option(help="Take this task out.")],
) -> None:
    """Take a task out of a bundle."""
    from ..bundles import remove_task

    remove_task(bundle, task)


def verify(
    bundle: Annotated[Path, typer.Argument(help="Check this bundle.")],
    base: Annotated[
        str | None,
        typer.Option(help="Compare with this base model in transformers, a directory or hub id."),
    ] = None,
    adapters: Annotated[
        list[str] | None,
        typer.Option(help="Compare with this task's PEFT directory or hub id, too; repeat it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check every file of a bundle, load its program and switch to every task."""
    if adapters and base is None:
        raise UsageError("--adapters goes with --base: an adapter is compared on its base model")
    from ..runtime import verify as verify_bundle

    try:
        record = in_child(verify_bundle, bundle)
    except EndedError as error:
        raise BundleError(
            f"the process that ran {bundle} ended by {error}: ExecuTorch cannot tell what is wrong "
            "with its program; do not use it, export again"
        ) from None
    if base is not None:
        from ..lowering.against_base import verify_against

        console = Console(file=sys.stderr)
        with console.status("Loading the base model") as status, showing_stages(status.update):
            record |= asdict(verify_against(bundle, base, adapters or ()))
    report.show(record, as_json)
