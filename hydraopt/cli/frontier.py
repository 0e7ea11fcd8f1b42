"""``hydraopt frontier``: storage against quality, on the bundled zoo or a user's adapters."""

import os
from pathlib import Path
from typing import Annotated

import typer

from . import report
from .options import Json, Output
from .parsing import integers, percentages


def frontier(
    output: Output,
    adapters: Annotated[
        list[str] | None,
        typer.Argument(help="PEFT directories or hub ids; the bundled zoo by default."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Base model of ADAPTERS: directory or hub id.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="JSON lines of task, prompt and answer to test ADAPTERS with."),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(help="The same to train on, for methods that need data and for calibration."),
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
    from ..evaluation.frontier import SHARES
    from ..evaluation.reports import subject_of, write_experts, write_frontier

    shares = SHARES if budgets is None else percentages("--budgets", budgets)
    counts = None if experts is None else integers("--experts", experts)
    subject = subject_of(
        adapters or [], base, data, train, inputs, experts=experts is not None, bfloat16=bf16
    )
    names, jobs = methods and methods.split(","), jobs or os.cpu_count() or 1
    if counts is None:
        report.show_points(write_frontier(output, subject, names, jobs, shares), as_json)
        return
    points = write_experts(output, subject, names, counts, held_out, jobs)
    report.show_experts(points, as_json)
