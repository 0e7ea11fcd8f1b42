"""``hydraopt train``: HydraLoRA and sparse adapters."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import records, report
from .options import MOST, Json, Output, Overwrite, finite

if TYPE_CHECKING:
    from ..training.loop import Fitted

train = typer.Typer(
    help="Train HydraLoRA and sparse adapters; for LoRA use PEFT.",
    no_args_is_help=True,
)

Base = Annotated[str, typer.Option(help="Base model: directory or hub id.")]
Data = Annotated[Path, typer.Option(help="Training examples: JSON lines of prompt and answer.")]
Targets = Annotated[str, typer.Option(help="Linear layers to adapt: names or suffixes.")]
Steps = Annotated[int, typer.Option(max=MOST, min=1, help="Number of optimizer steps.")]
Rate = Annotated[float, typer.Option(callback=finite, help="Learning rate (AdamW).")]
BatchSize = Annotated[int, typer.Option(max=MOST, min=1, help="Batch size.")]
Seed = Annotated[
    int,
    typer.Option(max=MOST, min=0, help="Random seed of initialization, data order and dropout."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Resume an interrupted training.")]


@train.command()
def hydralora(
    base: Base,
    data: Data,
    output: Output,
    targets: Targets = "gate_proj,up_proj,down_proj",
    experts: Annotated[
        int | None,
        typer.Option(
            max=MOST,
            help="Experts (B matrices) per layer; by default found by clustering the prompts.",
        ),
    ] = None,
    rank: Annotated[int, typer.Option(max=MOST, help="Rank r of the factors.")] = 8,
    alpha: Annotated[
        float, typer.Option(callback=finite, help="LoRA alpha; the update is scaled by alpha / r.")
    ] = 16.0,
    steps: Steps = 1000,
    rate: Rate = 2e-4,
    batch: BatchSize = 16,
    seed: Seed = 0,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a HydraLoRA adapter: per layer one A, several experts (B) and a router."""
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
        float, typer.Option(callback=finite, help="Share of each layer's weights to change.")
    ] = 0.05,
    block: Annotated[
        bool, typer.Option("--block", help="Select 16 x 16 blocks instead of single weights.")
    ] = False,
    steps: Steps = 1000,
    rate: Rate = 1e-4,
    batch: BatchSize = 16,
    seed: Seed = 0,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a sparse adapter: updates to a few selected weights per layer."""
    from ..training.job import Job
    from ..training.loop import Schedule
    from ..training.sparse import SparseConfig
    from ..training.train_sparse import train_sparse

    schedule = Schedule(steps, rate, batch, seed=seed)
    job = Job(base, data, output, schedule, resume, overwrite)
    fitted = train_sparse(job, targets.split(","), SparseConfig(keep, block))
    _show(output, fitted, as_json)


def _show(output: Path, fitted: "Fitted", as_json: bool) -> None:
    """Print what was written, with steps and loss."""
    trained = {"steps": fitted.steps, "loss": round(fitted.best, 4)}
    report.show(records.describe(output) | trained, as_json)
