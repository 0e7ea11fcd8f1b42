"""``hydraopt export``, ``add``, ``remove`` and ``verify``: make, change and check bundles."""

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
        typer.Argument(
            metavar="ADAPTERS", help="Directory written by `compress`, `merge` or `train`."
        ),
    ],
    base: Annotated[str, typer.Option(help="Base model: directory or hub id.")],
    bundle: Output,
    quantize: Annotated[
        SchemeName,
        typer.Option(help="Quantization scheme of the base's linear layers; none for float32."),
    ] = DEFAULT_SCHEME,
    embedding: Annotated[
        EmbeddingName | None,
        typer.Option(
            help="Quantization scheme of the token embedding; by default that of --quantize."
        ),
    ] = None,
    attention: Annotated[
        Literal["llm", "portable"],
        typer.Option(
            help="Attention operators: ExecuTorch's LLM kernels, or portable ones in any runtime."
        ),
    ] = "llm",
    swap: Annotated[
        Literal["inputs", "methods", "data"] | None,
        typer.Option(
            help="How tasks are switched: factors as inputs (default), or one method or .ptd "
            "file per task."
        ),
    ] = None,
    packs: Annotated[
        Literal["files", "single"],
        typer.Option(help="One file per task's pack, or a single file for all."),
    ] = "files",
    static: Annotated[
        bool,
        typer.Option(
            "--static",
            help="Put the one adapter of all tasks into the base's weights; nothing is switched.",
        ),
    ] = False,
    max_length: Annotated[
        int | None, typer.Option(max=MOST, help="Length of the KV cache in tokens.")
    ] = None,
    prefill_length: Annotated[
        int | None,
        typer.Option(max=MOST, help="Maximum tokens per call; longer prompts are split."),
    ] = None,
    backend: Annotated[
        BackendName,
        typer.Option(
            help="Backend that runs the program.",
            hidden=len(BACKENDS) == 1,  # there is nothing to choose
        ),
    ] = DEFAULT,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Skip the comparison with transformers.")
    ] = False,
    chat_template_arg: ChatArguments = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Export base model and adapters as a bundle: one ExecuTorch program and a pack per task."""
    from ..lowering.bundle import export_bundle
    from ..lowering.opening import open_adapters
    from ..lowering.settings import ExportSettings

    chat = arguments("--chat-template-arg", chat_template_arg or ())
    settings = ExportSettings(quantize, embedding, attention, max_length, prefill_length, backend)
    # its own console: standard error is captured while the exporter runs
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
    bundle: Annotated[Path, typer.Argument(help="Bundle to change.")],
    adapter: Annotated[str, typer.Argument(help="PEFT directory or hub id of the adapter.")],
    task: Annotated[str, typer.Option(help="Name of the new task.")],
    as_json: Json = False,
) -> None:
    """Add an adapter to a bundle without a new export; only its pack is written."""
    from ..bundles import add_task

    report.show(records.of_tasks(add_task(bundle, adapter, task))[0], as_json)


def remove(
    bundle: Annotated[Path, typer.Argument(help="Bundle to change.")],
    task: Annotated[str, typer.Option(help="Task to remove.")],
) -> None:
    """Remove a task from a bundle."""
    from ..bundles import remove_task

    remove_task(bundle, task)


def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle to check.")],
    base: Annotated[
        str | None,
        typer.Option(help="Base model to compare with in transformers: directory or hub id."),
    ] = None,
    adapters: Annotated[
        list[str] | None,
        typer.Option(help="With --base: original adapter, PEFT directory or hub id; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a bundle: its files, its program, and a switch to every task."""
    if adapters and base is None:
        raise UsageError("--adapters goes with --base: an adapter is compared on its base model")
    from ..runtime import verify as verify_bundle

    try:
        record = in_child(verify_bundle, bundle)
    except EndedError as error:
        raise BundleError(
            f"the process that ran {bundle} ended with {error}: its program is broken; do not "
            "use it, export again"
        ) from None
    if base is not None:
        from ..lowering.against_base import verify_against

        console = Console(file=sys.stderr)
        with console.status("Loading the base model") as status, showing_stages(status.update):
            record |= asdict(verify_against(bundle, base, adapters or ()))
    report.show(record, as_json)
