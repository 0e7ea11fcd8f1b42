"""Storage against quality on a real LLM: data, training, and ``hydraopt frontier``.

    PYTHONPATH=tests/benchmarks python -m llm_zoo -o docs/results/llm [--with-data] [--jobs N]

Every step keeps what it finished, so that a run that was stopped goes on.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from smollm2_weights import smollm2

from hydraopt.files import write_json

from .data import CALIBRATION, SOURCES, TEST, data
from .tasks import TASKS
from .train import LOG, train_all

BUDGETS = "1,2,3,5,7,10,15,30"
INPUTS = 64  # of the test examples of each task, for a run of some two hours
METHODS = (
    *("budget", "plain", "hydraopt", "average", "ties", "knots", "tsv-merge", "jd-full"),
    *("byom", "1bit", "emr"),
)
WITH_DATA = ("calibrated", "supermerge")  # they train for hours
TRAINING = "training.json"


def command(
    output: Path,
    base: Path,
    texts: Path,
    adapters: Mapping[str, Path],
    *,
    with_data: bool = False,
    bfloat16: bool = False,
    jobs: int = 2,
) -> list[str]:
    """What a user would type to measure adapters of a base of their own."""
    program = Path(sys.executable).with_name("hydraopt")
    methods = [*METHODS, *(WITH_DATA if with_data else ())]
    options = ["--base", base, "--data", texts / TEST, "--methods", ",".join(methods)]
    options += ["--train", texts / CALIBRATION]  # always: what is measured is kept for both runs
    options += ["--budgets", BUDGETS, "--inputs", INPUTS, "--jobs", jobs]
    options += ["--bf16"] if bfloat16 else []
    sources = [f"{task}={directory}" for task, directory in adapters.items()]
    return list(map(str, [program, "frontier", "-o", output, *options, *sources]))


def summary(adapters: Mapping[str, Path]) -> list[dict]:
    """What the trainings logged, without the loss of every step."""
    logs = [json.loads((directory / LOG).read_text()) for directory in adapters.values()]
    return [{key: value for key, value in log.items() if key != "losses"} for log in logs]


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write to.")],
    with_data: Annotated[
        bool, typer.Option("--with-data", help="Also methods that learn from examples.")
    ] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="Score in bfloat16.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
) -> None:
    """Make the data, train the adapters, and measure methods on them."""
    base = smollm2()
    texts, adapters = data(base), train_all([*TASKS], jobs)
    arguments = command(
        output, base, texts, adapters, with_data=with_data, bfloat16=bf16, jobs=jobs
    )
    print(" ".join(arguments), flush=True)
    if code := subprocess.run(arguments, check=False).returncode:
        sys.exit(code)
    write_json(output / TRAINING, summary(adapters))
    shutil.copyfile(texts / SOURCES, output / SOURCES)


if __name__ == "__main__":
    typer.run(main)
