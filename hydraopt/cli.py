"""The ``hydraopt`` command. Every command calls the library and prints; nothing imports this."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.logging import RichHandler

from . import report
from .base_commands import base
from .command_line import run_command_line
from .options import Json, Output, Overwrite, messages
from .profiling import commands as profiling
from .progress import shown_by
from .run_command import run
from .sparse_commands import sparse
from .train_commands import train

app = typer.Typer(
    help="Many LoRA adapters of one base model in one ExecuTorch program.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(profiling.emulator, name="emulator")
app.add_typer(base, name="base")
app.add_typer(train, name="train")
app.add_typer(sparse, name="sparse")
app.command()(profiling.profile)
app.command()(profiling.compare)
app.command()(run)


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log in detail.")] = False,
) -> None:
    """Many LoRA adapters of one base model in one ExecuTorch program."""
    logging.basicConfig(
        level=logging.ERROR,
        format="%(message)s",
        handlers=[RichHandler(console=messages, show_path=False)],
        force=True,
    )
    logging.getLogger("hydraopt").setLevel(logging.INFO if verbose else logging.WARNING)


@app.command()
def merge(
    adapters: Annotated[list[str], typer.Argument(help="PEFT directories, hub ids or NAME=one.")],
    merged: Output,
    budget: Annotated[
        str | None, typer.Option(help="Bytes to use at most: 10% of fp16, or 12MB.")
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(min=0, help="Smallest budget that loses no more points.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Base model for --max-drop, --calibration and --data.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="JSONL of task, prompt and answer for --max-drop.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="JSONL of prompt, and task if not for all: fits codes.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="JSONL of task, prompt and answer if the method needs it.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="See hydraopt methods; default hydraopt.")
    ] = None,
    clusters: Annotated[int | None, typer.Option(help="K, number of B's per module.")] = None,
    rank: Annotated[int | None, typer.Option(help="R, rank of the result.")] = None,
    soft: Annotated[bool | None, typer.Option("--soft", help="Mix B's, do not pick one.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of what is random.")] = None,
    pairs: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE, any option of the method.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Merge LoRA adapters of one base model: into a byte budget, or by a merging method."""
    from . import merge_command
    from .files import check_output
    from .merging import DESCRIPTION, parse_settings

    check_output(merged, DESCRIPTION, overwrite=overwrite)
    flags = {"clusters": clusters, "rank": rank, "soft": soft, "seed": seed}
    given = {name: value for name, value in flags.items() if value is not None}
    settings = parse_settings(pairs or [], given)
    dial = merge_command.Dial(budget, max_drop, base, validation, calibration, data)
    result = merge_command.merge(adapters, dial, method, settings)
    result.save(merged, overwrite=overwrite)
    report.show(report.of_merged(result), as_json)


@app.command()
def methods(as_json: Json = False) -> None:
    """List the merging methods with their papers, needs, storage and options."""
    from .merging import METHODS

    report.show_methods(METHODS, as_json)


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="Adapter, merged directory or bundle.")],
    as_json: Json = False,
) -> None:
    """Show tasks, modules and bytes; of merged adapters also the error of each."""
    report.show_info(path, as_json)


@app.command()
def unmerge(
    merged: Annotated[Path, typer.Argument(help="Merged directory.")],
    task: Annotated[str, typer.Option(help="Task to take out.")],
    adapter: Output,
    overwrite: Overwrite = False,
) -> None:
    """Write one task of a merged directory back as a plain PEFT adapter."""
    from .packing import open_merged

    open_merged(merged).to_peft(task, adapter, overwrite=overwrite)


@app.command()
def export(
    merged: Annotated[Path, typer.Argument(help="Merged directory.")],
    base: Annotated[str, typer.Option(help="Base model: directory or hub id.")],
    bundle: Output,
    quantize: Annotated[
        Literal["none", "8da4w"], typer.Option(help="Quantisation of the base.")
    ] = "none",
    embedding: Annotated[
        Literal["4w", "8w", "none"] | None,
        typer.Option(help="Token embedding; by default 4w if the base is quantised."),
    ] = None,
    attention: Annotated[
        Literal["llm", "portable"],
        typer.Option(help="ExecuTorch's operators for LLMs, or operators of every runtime."),
    ] = "llm",
    swap: Annotated[
        Literal["inputs", "methods", "data"] | None,
        typer.Option(
            help="Factors as inputs (default), one method per task, or a .ptd file per task."
        ),
    ] = None,
    static: Annotated[
        bool, typer.Option("--static", help="One adapter for all tasks, put into the weights.")
    ] = False,
    max_length: Annotated[int | None, typer.Option(help="Positions of the KV cache.")] = None,
    prefill_length: Annotated[
        int | None, typer.Option(help="Most tokens of one call; longer prompts go in pieces.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Lower base and adapters into one ExecuTorch program and write a bundle."""
    from . import export_command

    form = export_command.Form(quantize, embedding, attention, max_length, prefill_length)
    target = export_command.Target(base, bundle, form, overwrite)
    # a console of its own: what the exporter prints on the standard error is caught
    console = Console(file=sys.stderr)
    with console.status("Loading the base model") as status, shown_by(status.update):
        exported = export_command.export(merged, target, swap, static=static)
    report.show_export(exported, report.describe(bundle), as_json)


@app.command()
def add(
    bundle: Annotated[Path, typer.Argument(help="Bundle to add to.")],
    adapter: Annotated[str, typer.Argument(help="PEFT directory or hub id.")],
    task: Annotated[str, typer.Option(help="Name of the new task.")],
    as_json: Json = False,
) -> None:
    """Code a new adapter into a bundle; the program and all other packs stay as they are."""
    from .lowering.growth import add_task
    from .quality_report import of_tasks

    report.show(of_tasks(add_task(bundle, adapter, task))[0], as_json)


@app.command()
def remove(
    bundle: Annotated[Path, typer.Argument(help="Bundle to take from.")],
    task: Annotated[str, typer.Option(help="Task to take out.")],
) -> None:
    """Take a task out of a bundle."""
    from .lowering.growth import remove_task

    remove_task(bundle, task)


@app.command()
def verify(bundle: Annotated[Path, typer.Argument(help="Bundle.")], as_json: Json = False) -> None:
    """Check every file of a bundle, load its program and switch to every task."""
    from .runtime import verify as verify_bundle

    report.show(verify_bundle(bundle), as_json)


@app.command()
def frontier(
    output: Output,
    adapters: Annotated[
        list[str] | None, typer.Argument(help="PEFT directories; the bundled zoo by default.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="Base model of ADAPTERS.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="JSONL of task, prompt and answer for ADAPTERS.")
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(help="The same for training, and prompts for calibration."),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="By default budget,calibrated,plain,hydraopt,average; for experts all."),
    ] = None,
    budgets: Annotated[
        str | None, typer.Option(help="Byte budgets, in percent of fp16: 2,5,10.")
    ] = None,
    experts: Annotated[
        str | None, typer.Option(help="Compare merges of so many adapters instead: 2,8,32.")
    ] = None,
    held_out: Annotated[
        int, typer.Option(min=0, help="With --experts: tasks that no merge sees.")
    ] = 0,
    inputs: Annotated[int, typer.Option(min=1, help="Zoo inputs per task, up to 200.")] = 200,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Score with matrices multiplied in bfloat16.")
    ] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; one per core.")] = None,
    as_json: Json = False,
) -> None:
    """Measure storage against quality for many methods; run again to resume."""
    from .frontier_command import subject_of, write_experts, write_frontier

    subject = subject_of(
        adapters or [], base, data, train, inputs, experts=experts is not None, bfloat16=bf16
    )
    names, jobs = methods and methods.split(","), jobs or os.cpu_count() or 1
    if experts is None:
        report.show_points(write_frontier(output, subject, names, jobs, budgets), as_json)
        return
    points = write_experts(output, subject, names, experts, held_out, jobs)
    report.show_experts(points, as_json)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.")] = Path(
        "demo"
    ),
    inputs: Annotated[int, typer.Option(min=1, help="Test inputs per task, up to 200.")] = 20,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Merge the bundled zoo, lower it, run tasks in several languages and measure."""
    from .zoo.demo import run_demo

    run_demo(output, inputs=inputs, overwrite=overwrite, as_json=as_json)


def main() -> None:
    """Entry point."""
    run_command_line(app)
