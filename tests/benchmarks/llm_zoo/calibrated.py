"""What calibration costs and gains on the zoo: some tasks of one budget, before and after.

    PYTHONPATH=tests/benchmarks python -m llm_zoo.calibrated -o docs/results/llm/calibrated.json

All adapters are coded together into the budget, as `hydraopt compress` does it; then the codes of
the named tasks are calibrated on their prompts, each in minutes, and scored beside the data-free
codes and the unmerged adapters.
"""

import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from smollm2_weights import smollm2

from hydraopt import compress, read_adapters
from hydraopt.adapters import AdapterSet
from hydraopt.calibration import calibrate
from hydraopt.evaluation.evaluator import Evaluator
from hydraopt.files import replaced_file, write_json
from hydraopt.training import CalibrationData, read_examples

from .data import CALIBRATION, TEST, data
from .tasks import TASKS
from .train import train_all


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON to write.")],
    tasks: Annotated[str, typer.Option(help="Calibrate these.")] = "ui-de,define-en",
    budget: Annotated[str, typer.Option(help="As of hydraopt compress.")] = "2%",
    inputs: Annotated[int, typer.Option(min=1, help="Test examples of each task.")] = 64,
    bf16: Annotated[bool, typer.Option("--bf16", help="Multiply in bfloat16.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Adapters trained at a time.")] = 2,
) -> None:
    """Compress, calibrate some tasks, score them."""
    torch.manual_seed(0)
    base, names = smollm2(), tasks.split(",")
    sources = [f"{task}={path}" for task, path in train_all([*TASKS], jobs).items()]
    adapters = read_adapters(sources)
    coded = compress(adapters, budget)
    examples = read_examples(data(base) / TEST, [*TASKS])
    evaluator = Evaluator.load(
        str(base), {task: examples[task][:inputs] for task in names}, bfloat16=bf16
    )
    prompts = CalibrationData.read(str(base), data(base) / CALIBRATION, [*TASKS], labels=False)
    record = {"budget": budget, "share_of_fp16": coded.share, "tasks": {}}
    for adapter in adapters.adapters:
        if adapter.name not in names:
            continue
        start = time.perf_counter()
        with torch.autocast(prompts.model.device.type, torch.bfloat16, enabled=bf16):
            calibrated = calibrate(coded, AdapterSet([adapter]), prompts)
        seconds = time.perf_counter() - start
        factors = {
            "unmerged": lambda _, adapter=adapter: adapter.factors,
            "data-free": coded.task_factors,
            "calibrated": calibrated.task_factors,
        }
        scores = {
            name: evaluator.scores([adapter.name], of_task)[adapter.name]._asdict()
            for name, of_task in factors.items()
        }
        record["tasks"][adapter.name] = {"seconds": seconds, **scores}
        print(adapter.name, record["tasks"][adapter.name], flush=True)
        with replaced_file(output) as staging:
            write_json(staging, record)


if __name__ == "__main__":
    typer.run(main)
