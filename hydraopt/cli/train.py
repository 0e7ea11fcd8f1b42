"""The training commands; each calls the library and prints."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import records, report
from .options import MOST, Json, Output, Overwrite, finite

if TYPE_CHECKING:
    from ..training.loop import Fitted

train = typer.Typer(
    help="Train adapters of other kinds than LoRA; for LoRA itself use PEFT.",
    no_args_is_help=True,
)

Base = Annotated[str, typer.Option(help="Train on this base model, a directory or hub id.")]
Data = Annotated[Path, typer.Option(help="Read these JSON lines of prompt and answer.")]
Targets = Annotated[
    str, typer.Option(help="Adapt the linear layers with these names, or ends of names.")
]
Steps = Annotated[int, typer.Option(max=MOST, min=1, help="Take so many optimizer steps.")]
Rate = Annotated[float, typer.Option(callback=finite, help="Use this learning rate of AdamW.")]
BatchSize = Annotated[int, typer.Option(max=MOST, min=1, help="Use so many examples in a step.")]
Seed = Annotated[
    int,
    typer.Option(
        max=MOST, min=0, help="Seed initialisation, order of the examples and dropout with this."
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue what was interrupted.")]


@train.command()
def hydralora(
    base: Base,
    data: Data,
    output: Output,
    targets: Targets = "gate_proj,up_proj,down_proj",
    experts: Annotated[
        int | None,
        typer.Option(max=MOST, help="Give each layer so many B's; by default the prompts decide."),
    ] = None,
    rank: Annotated[int, typer.Option(max=MOST, help="Give the factors this rank r.")] = 8,
    alpha: Annotated[
        float, typer.Option(callback=finite, help="Scale the factors' product by alpha / r.")
    ] = 16.0,
    steps: Steps = 1000,
    rate: Rate = 2e-4,
    batch: BatchSize = 16,
    seed: Seed = 0,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train one adapter for a mixture of tasks: one A, several B's and a router per layer."""
    from ..training.job import Job
    from ..training.loop import Schedule
    from ..training.train_hydralora import train_hydralora

    schedule = Schedule(steps, rate, batch, seed=seed)
    job = Job(base, data, output, schedule, resume, overwrite)
    fitted = train_hydralora(job, targets.split(","), experts, rank, alpha)
    _show(output, fitted, as_json)


@train.command()
def sparse(
    base: Base,
    data: Data,
    output: Output,
    targets: Targets = "q_proj,k_proj,v_proj",
    keep: Annotated[
        float, typer.Option(callback=finite, help="Change this share of each layer's weights.")
    ] = 0.05,
    block: Annotated[bool, typer.Option("--block", help="Choose blocks of 16 x 16.")] = False,
    steps: Steps = 1000,
    rate: Rate = 1e-4,
    batch: BatchSize = 16,
    seed: Seed = 0,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train one task's sparse adapter: changes of a few chosen weights per layer."""
    from ..training.job import Job
    from ..training.loop import Schedule
    from ..training.sparse import SparseConfig
    from ..training.train_sparse import train_sparse

    schedule = Schedule(steps, rate, batch, seed=seed)
    job = Job(base, data, output, schedule, resume, overwrite)
    fitted = train_sparse(job, targets.split(","), SparseConfig(keep, block))
    _show(output, fitted, as_json)


def _show(output: Path, fitted: "Fitted", as_json: bool) -> None:
    """What was written, and how the training went."""
    trained = {"steps": fitted.steps, "loss": round(fitted.best, 4)}
    report.show(records.describe(output) | trained, as_json)
