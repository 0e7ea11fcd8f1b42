"""What sharing all rows costs on the bundled zoo: exact match with and without ``mixable``.

    python tests/benchmarks/mixable_cost.py [-o docs/results/mixable.json]

Scores are teacher-forced, on the 200 unseen inputs of each task that ``make frontier`` takes.
"""

import argparse
from pathlib import Path
from statistics import mean

from hydraopt.files import json_bytes
from hydraopt.packing import Coder
from hydraopt.zoo import load_adapters
from hydraopt.zoo.evaluate import zoo_evaluator

BUDGETS = (3, 5, 10)  # per cent of fp16


def measured() -> list[dict]:
    """One record for each budget and way to code."""
    adapters, evaluator = load_adapters(), zoo_evaluator()
    coders = {mixable: Coder.from_adapters(adapters, mixable=mixable) for mixable in (False, True)}
    records = []
    for budget in BUDGETS:
        for mixable, coder in coders.items():
            coded = coder.code(int(budget / 100 * adapters.fp16_bytes))
            scores = evaluator.merged(coded)
            errors = [error for of_task in coded.errors.values() for error in of_task.values()]
            modules = coded.layout.modules.values()
            records.append(
                {
                    "budget": budget,
                    "mixable": mixable,
                    "share": coded.share,
                    "modules_with_private_rows": sum(
                        x.shared_rows < len(x.directions) for x in modules
                    ),
                    "largest_rank": max(len(x.directions) for x in modules),
                    "mean_exact": mean(scores.values()),
                    "worst_exact": min(scores.values()),
                    "mean_error": mean(errors),
                }
            )
            print(records[-1], flush=True)
    return records


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/results/mixable.json"))
    parser.parse_args().output.write_bytes(json_bytes(measured()))
