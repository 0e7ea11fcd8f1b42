"""``hydraopt frontier``: storage against quality, of the bundled zoo or the user's adapters."""

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
        typer.Argument(help="PEFT directories or hub ids; by default the bundled zoo."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Base model of ADAPTERS: directory or hub id.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Test examples: JSON lines of task, prompt and answer."),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(
            help="Training examples in the same format, for calibration and methods that need data."
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Methods to compare; by default budget,calibrated,plain,hydraopt,average."
        ),
    ] = None,
    budgets: Annotated[
        str | None, typer.Option(help="Byte budgets in per cent of fp16, such as 2,5,10.")
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Compare merges of this many tasks instead, such as 2,8,32."),
    ] = None,
    held_out: Annotated[
        int,
        typer.Option(
            max=MOST, min=0, help="With --tasks: number of tasks kept out of every merge."
        ),
    ] = 0,
    inputs: Annotated[
        int | None,
        typer.Option(max=MOST, min=1, help="Test inputs per task; up to 200 for the zoo."),
    ] = None,
    bf16: Annotated[bool, typer.Option("--bf16", help="Evaluate in bfloat16.")] = False,
    jobs: Annotated[
        int | None,
        typer.Option(max=MOST, min=1, help="Number of processes; by default one per core."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure storage against quality of many methods; an interrupted run resumes."""
    from ..evaluation.frontier import SHARES
    from ..evaluation.reports import write_frontier, write_merges

    shares = SHARES if budgets is None else percentages("--budgets", budgets)
    counts = None if tasks is None else integers("--tasks", tasks)
    benchmark = _benchmark(adapters, base, data, train, inputs, merges=tasks is not None)
    benchmark = replace(benchmark, bfloat16=bf16)
    names, jobs = methods and methods.split(","), jobs or os.cpu_count() or 1
    if counts is None:
        report.show_points(write_frontier(output, benchmark, names, jobs, shares), as_json)
        return
    points = write_merges(output, benchmark, names, counts, held_out, jobs)
    report.show_merges(points, as_json)


def _benchmark(
    adapters: Sequence[str] | None,
    base: str | None,
    data: Path | None,
    train: Path | None,
    inputs: int | None,
    *,
    merges: bool,
) -> "Benchmark":
    """Return the user's adapters, or the zoo, with training examples for methods or calibration."""
    from ..errors import UsageError
    from ..evaluation.reports import read_benchmark
    from ..zoo.evaluate import PROMPTS, TEST_INPUTS, TRAINING, zoo_benchmark

    if adapters and base and data:
        return read_benchmark(adapters, base, data, train, inputs)
    if adapters or base or data or train:
        raise UsageError("pass ADAPTERS with --base and --data, or none of them for the zoo")
    return zoo_benchmark(inputs or TEST_INPUTS, TRAINING if merges else PROMPTS)
