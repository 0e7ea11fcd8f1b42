"""``hydraopt frontier``: storage against quality, on the bundled zoo or a user's adapters."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import report
from .options import MOST, Json, Output
from .parsing import integers, percentages

if TYPE_CHECKING:
    from ..evaluation.points import Benchmark


def frontier(
    output: Output,
    adapters: Annotated[
        list[str] | None,
        typer.Argument(
            help="Measure these PEFT directories or hub ids, by default the bundled zoo."
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="ADAPTERS change this base model, a directory or hub id.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Test ADAPTERS with these JSON lines of task, prompt and answer."),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(help="Give such lines to methods that need data, and to calibration."),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Compare these, by default budget,calibrated,plain,hydraopt,average."),
    ] = None,
    budgets: Annotated[
        str | None, typer.Option(help="Use these byte budgets, in percent of fp16, such as 2,5,10.")
    ] = None,
    experts: Annotated[
        str | None, typer.Option(help="Compare merges of so many adapters instead, such as 2,8,32.")
    ] = None,
    held_out: Annotated[
        int,
        typer.Option(
            max=MOST, min=0, help="With --experts, keep so many tasks out of every merge."
        ),
    ] = 0,
    inputs: Annotated[
        int | None,
        typer.Option(
            max=MOST, min=1, help="Test so many inputs of each task; of the zoo 200 at most."
        ),
    ] = None,
    bf16: Annotated[bool, typer.Option("--bf16", help="Multiply matrices in bfloat16.")] = False,
    jobs: Annotated[
        int | None,
        typer.Option(max=MOST, min=1, help="Run so many processes, by default one per core."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure storage against quality for many methods; run again to resume."""
    from ..evaluation.frontier import SHARES
    from ..evaluation.reports import write_experts, write_frontier

    shares = SHARES if budgets is None else percentages("--budgets", budgets)
    counts = None if experts is None else integers("--experts", experts)
    benchmark = _benchmark(adapters, base, data, train, inputs, experts=experts is not None)
    benchmark = replace(benchmark, bfloat16=bf16)
    names, jobs = methods and methods.split(","), jobs or os.cpu_count() or 1
    if counts is None:
        report.show_points(write_frontier(output, benchmark, names, jobs, shares), as_json)
        return
    points = write_experts(output, benchmark, names, counts, held_out, jobs)
    report.show_experts(points, as_json)


def _benchmark(
    adapters: Sequence[str] | None,
    base: str | None,
    data: Path | None,
    train: Path | None,
    inputs: int | None,
    *,
    experts: bool,
) -> "Benchmark":
    """A user's adapters, or the zoo with training examples for methods or for calibration."""
    from ..errors import UsageError
    from ..evaluation.reports import read_benchmark
    from ..zoo.evaluate import PROMPTS, TEST_INPUTS, TRAINING, zoo_benchmark

    if adapters and base and data:
        return read_benchmark(adapters, base, data, train, inputs)
    if adapters or base or data or train:
        raise UsageError("pass ADAPTERS with --base and --data, or none of them for the zoo")
    return zoo_benchmark(inputs or TEST_INPUTS, TRAINING if experts else PROMPTS)
