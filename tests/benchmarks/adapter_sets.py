"""Measure codes on sets of adapters that differ in how they were trained.

    PYTHONPATH=tests/benchmarks python tests/benchmarks/adapter_sets.py -o docs/results/sets.json

All sets but the bundled one are trained first, and kept in the cache: LoRA on the zoo's base with
other ranks, layers, scales and initialisations, for every fifth of its tasks.
"""

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer
from train_zoo import Recipe, train_adapter

from hydraopt.adapters import AdapterSet, read_adapters
from hydraopt.evaluation import Evaluator
from hydraopt.evaluation.interval import interval
from hydraopt.files import replaced_file, write_json
from hydraopt.packing import Coder
from hydraopt.profiling.cache import cached
from hydraopt.zoo import BASE, load_adapters
from hydraopt.zoo.tasks import TASKS, test_examples

VERSION = 1  # of how the sets are trained
STEPS = 400
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
BUNDLED = "bundled"
EVERY = 5  # n-th task of the zoo

SETS: Mapping[str, Recipe] = {
    "unaligned": Recipe(seed=None),
    "attention, r = 16": Recipe(16, ATTENTION),
    "r = 32": Recipe(32),
    "r = 4": Recipe(4),
    "rsLoRA, r = 16": Recipe(16, rslora=True),
}


def adapter(name: str, task: str) -> Path:
    """Directory of one adapter of a set."""
    return cached(
        f"zoo-sets/{name.replace(' ', '')}-{VERSION}/{task}",
        lambda directory: train_adapter(task, Path(BASE), directory, STEPS, SETS[name]),
    )


def adapters_of(name: str, jobs: int) -> AdapterSet:
    """Return a set of adapters."""
    if name == BUNDLED:
        return load_adapters()
    tasks = TASKS[::EVERY]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        found = pool.map(adapter, [name] * len(tasks), tasks)
        return read_adapters([f"{t}={x}" for t, x in zip(tasks, found, strict=True)])


def measure(adapters: AdapterSet, budgets: list[float], inputs: int) -> dict:
    """Exact match of the adapters, and what each budget uses and loses of it, in points."""
    examples = {task: test_examples(task, inputs) for task in adapters.tasks}
    evaluator = Evaluator.load(str(BASE), examples)
    whole = evaluator.unmerged(adapters)
    coder = Coder.from_adapters(adapters)
    found: dict = {"tasks": len(whole), "exact": _mean(whole), "budgets": {}}
    for budget in budgets:
        coded = coder.code(int(budget / 100 * adapters.fp16_bytes))
        lost = {task: whole[task] - x for task, x in evaluator.merged(coded).items()}
        worst = max(lost, key=lost.__getitem__)
        found["budgets"][f"{budget:g}"] = {
            "used": 100 * coded.stored_bytes / adapters.fp16_bytes,
            "lost": _mean(lost),
            "lost_interval": [100 * x for x in interval(lost.values())],
            "lost_by_task": {task: 100 * x for task, x in lost.items()},
            "worst_lost": 100 * lost[worst],
            "worst_task": worst,
        }
    return found


def _mean(values: Mapping[str, float]) -> float:
    return 100 * sum(values.values()) / len(values)


EVERY_SET = ";".join((BUNDLED, *SETS))
Output = Annotated[Path, typer.Option("--output", "-o", help="JSON file to write.")]
Sets = Annotated[str, typer.Option(help="Names, separated by semicolons.")]
Budgets = Annotated[str, typer.Option(help="Per cent of the adapters in fp16.")]
Inputs = Annotated[int, typer.Option(help="Test inputs per task.")]
Jobs = Annotated[int, typer.Option(help="Adapters trained at a time.")]


def main(
    output: Output,
    sets: Sets = EVERY_SET,
    budgets: Budgets = "3.5,5,10",
    inputs: Inputs = 200,
    jobs: Jobs = 2,
) -> None:
    """Train what is missing, and measure all sets."""
    shares = [float(x) for x in budgets.split(",")]
    record = {}
    for name in sets.split(";"):
        record[name] = measure(adapters_of(name, jobs), shares, inputs)
        print(name, *_lines(record[name]), sep="\n  ", flush=True)
        with replaced_file(output) as staging:
            write_json(staging, {"inputs": inputs, "sets": record})


def _lines(found: dict) -> list[str]:
    return [f"{found['tasks']} tasks, {found['exact']:.2f} % exact match"] + [
        f"{share} %: {x['used']:.2f} % used, {x['lost']:.2f} lost "
        f"({x['lost_interval'][0]:.2f} to {x['lost_interval'][1]:.2f}), "
        f"worst {x['worst_lost']:.1f} ({x['worst_task']})"
        for share, x in found["budgets"].items()
    ]


if __name__ == "__main__":
    typer.run(main)
