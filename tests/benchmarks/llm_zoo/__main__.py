"""Measure storage against quality on a real LLM: data, training, and ``hydraopt frontier``.

    PYTHONPATH=tests/benchmarks python -m llm_zoo -o docs/results/llm [--jobs N]
      [--tasks ui-de,ui-fr] [--methods budget,calibrated] [--budgets 2,5]

Finished steps are kept, so an interrupted run resumes.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from smollm2_weights import smollm2

from hydraopt.files import write_json

from .data import CALIBRATION, SOURCES, TEST, data, write_some
from .tasks import TASKS
from .train import LOG, named_tasks, train_all

BUDGETS = "1,2,3,5,7,10,15,30"
INPUTS = 64  # of the test examples of each task, for a run of some two hours
# those without data; "calibrated" and "supermerge" train for hours
METHODS = "budget,plain,hydraopt,average,ties,knots,tsv-merge,jd-full,byom,1bit,emr"
TRAINING = "training.json"


def command(
    output: Path,
    base: Path,
    texts: Path,
    adapters: Mapping[str, Path],
    methods: str,
    budgets: str,
    *,
    bfloat16: bool = False,
    jobs: int = 2,
) -> list[str]:
    """What a user would type to measure adapters of a base of their own."""
    program = Path(sys.executable).with_name("hydraopt")
    options = ["--base", base, "--data", texts / TEST, "--methods", methods]
    options += ["--train", texts / CALIBRATION]  # always: what is measured is kept for any methods
    options += ["--budgets", budgets, "--inputs", INPUTS, "--jobs", jobs]
    options += ["--bf16"] if bfloat16 else []
    sources = [f"{task}={directory}" for task, directory in adapters.items()]
    return list(map(str, [program, "frontier", "-o", output, *options, *sources]))


def summary(adapters: Mapping[str, Path]) -> list[dict]:
    """What the trainings logged, without the loss of every step."""
    logs = [json.loads((directory / LOG).read_text()) for directory in adapters.values()]
    return [{key: value for key, value in log.items() if key != "losses"} for log in logs]


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write to.")],
    tasks: Annotated[str, typer.Option(help="Some of the tasks.")] = ",".join(TASKS),
    methods: Annotated[str, typer.Option(help="As of hydraopt frontier.")] = METHODS,
    budgets: Annotated[str, typer.Option(help="Per cent of fp16.")] = BUDGETS,
    bf16: Annotated[bool, typer.Option("--bf16", help="Score and train in bfloat16.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
) -> None:
    """Make the data, train the adapters, and measure methods on them."""
    chosen = named_tasks(tasks)
    base = smollm2()
    texts, adapters = data(base), train_all(chosen, jobs)
    with tempfile.TemporaryDirectory() as own:
        write_some(texts, adapters, Path(own))
        arguments = command(
            output, base, Path(own), adapters, methods, budgets, bfloat16=bf16, jobs=jobs
        )
        print(" ".join(arguments), flush=True)
        if code := subprocess.run(arguments, check=False).returncode:
            sys.exit(code)
    write_json(output / TRAINING, summary(adapters))
    shutil.copyfile(texts / SOURCES, output / SOURCES)


if __name__ == "__main__":
    typer.run(main)
