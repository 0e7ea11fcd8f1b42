r"""Compare codes of adapters with those of other methods' factors at the same bytes.

    PYTHONPATH=tests/benchmarks python tests/benchmarks/equal_bytes.py \
        -o docs/results/equal_bytes.json

Every family of methods is coded in several formats, each at the largest rank that fits; the table
shows the one of the fewest nats on these very inputs, which favours the others. Our budget counts
headers and the layout, the others only values, scales and steps.
"""

from collections.abc import Iterator, Mapping

import typer
from adapter_sets import BUNDLED, Budgets, Inputs, Jobs, Output, Sets, adapters_of
from coded_baselines import FAMILIES, Coded, mixed_precision

from hydraopt.adapters import AdapterSet
from hydraopt.evaluation import Evaluator
from hydraopt.evaluation.evaluator import Scores
from hydraopt.evaluation.interval import interval
from hydraopt.files import replaced_file, write_json
from hydraopt.packing import Coder
from hydraopt.zoo import BASE
from hydraopt.zoo.tasks import test_examples

OURS = "hydraopt compress"
MIXED = "LoRAQuant"


def ways(adapters: AdapterSet, coder: Coder, limit: int) -> Iterator[tuple[str, str, Coded]]:
    """Yield family, setting and codes of everything that fits."""
    budget = coder.code(limit)
    yield OURS, "", Coded(budget.task_factors, budget.stored_bytes)
    for name, family in FAMILIES.items():
        for setting, coded in family.within(adapters, limit):
            yield name, setting, coded
    for setting, coded in mixed_precision(adapters, limit):
        yield MIXED, setting, coded


def measured(found: Mapping[str, Scores], unmerged: Mapping[str, Scores]) -> dict:
    """Points of exact match that are lost, with their interval, and nats."""
    lost = {task: 100 * (unmerged[task].exact - x.exact) for task, x in found.items()}
    return {
        "lost": sum(lost.values()) / len(lost),
        "lost_interval": [*interval(lost.values())],
        "worst_lost": max(lost.values()),
        "nats": sum(x.nats for x in found.values()) / len(found),
    }


def compare(adapters: AdapterSet, shares: list[float], inputs: int) -> dict:
    """One record for each share of the adapters' fp16 bytes and each way to fill it."""
    examples = {task: test_examples(task, inputs) for task in adapters.tasks}
    evaluator, coder = Evaluator.load(str(BASE), examples), Coder.from_adapters(adapters)
    trained = {x.name: x.factors for x in adapters.adapters}
    unmerged = evaluator.scores(adapters.tasks, trained.__getitem__)
    record: dict = {"tasks": len(unmerged), "unmerged": measured(unmerged, unmerged), "shares": {}}
    for share in shares:
        rows = record["shares"][f"{share:g}"] = []
        for family, setting, coded in ways(adapters, coder, int(share / 100 * adapters.fp16_bytes)):
            scores = measured(evaluator.scores(adapters.tasks, coded.factors), unmerged)
            used = 100 * coded.bytes / adapters.fp16_bytes
            rows.append({"family": family, "setting": setting, "used": used, **scores})
            print(share, family, setting, f"{used:.2f} %", scores, flush=True)
    return record


def main(
    output: Output,
    sets: Sets = f"{BUNDLED};r = 32",
    budgets: Budgets = "3.5,5,10,15.6",
    inputs: Inputs = 50,
    jobs: Jobs = 2,
) -> None:
    """Measure all ways on all sets."""
    record = {}
    for name in sets.split(";"):
        adapters = adapters_of(name, jobs)
        record[name] = compare(adapters, [float(x) for x in budgets.split(",")], inputs)
        with replaced_file(output) as staging:
            write_json(staging, {"inputs": inputs, "sets": record})


if __name__ == "__main__":
    typer.run(main)
