"""What tasks lose that are added to a layout made from others, on the bundled zoo.

    python tests/benchmarks/later_tasks.py [-o docs/results/later_tasks.json]

A layout is made from 10 tasks, and the other 30 are coded in it, as ``hydraopt add`` does; beside
it, one that is made from all 40, whose bytes are the same in the end. Which tasks come first is
drawn. Scores are teacher-forced, on the 200 unseen inputs of each task of ``make frontier``.
"""

import argparse
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import mean

from hydraopt.adapters import AdapterSet
from hydraopt.evaluation import Evaluator
from hydraopt.files import json_bytes
from hydraopt.formats.pack import pack_bytes
from hydraopt.packing import CodedAdapters, Coder, encode_adapter
from hydraopt.stored import relative_errors
from hydraopt.zoo import load_adapters
from hydraopt.zoo.evaluate import zoo_evaluator

BUDGETS = (5, 10)  # per cent of fp16, of all 40
FIRST, DRAWS = 10, 3
BISECTIONS = 8


def extended(first: CodedAdapters, adapters: AdapterSet) -> CodedAdapters:
    """Code all adapters in the layout of some of them."""
    payloads = {
        x.name: first.payloads[x.name]
        if x.name in first.payloads
        else encode_adapter(first.layout, first.shared, x)
        for x in adapters.adapters
    }
    coded = replace(first, payloads=payloads, adapter_bytes=adapters.fp16_bytes, errors={})
    return replace(coded, errors=relative_errors(adapters, coded))


def of_the_first(adapters: AdapterSet, first: Collection[str], limit: int) -> CodedAdapters:
    """Code all adapters in the layout of ``first`` whose bytes are up to ``limit`` in the end."""
    coder = Coder.from_adapters(AdapterSet(x for x in adapters.adapters if x.name in first))
    later = len(adapters.tasks) - len(first)
    low, high = coder.smallest, limit
    fitting = coder.code(low)
    for _ in range(BISECTIONS):
        coded = coder.code((low + high) // 2)
        pack = pack_bytes(len(coded.payloads[coded.tasks[0]]))
        if coded.stored_bytes + later * pack <= limit:
            low, fitting = (low + high) // 2, coded
        else:
            high = (low + high) // 2
    return extended(fitting, adapters)


def scores(coded: CodedAdapters, evaluator: Evaluator, tasks: Collection[str]) -> dict:
    """Mean exact match and mean relative error of some tasks."""
    exact = evaluator.merged(coded)
    return {
        "share": coded.share,
        "first": _mean(exact, coded, tasks),
        "later": _mean(exact, coded, [task for task in coded.tasks if task not in tasks]),
    }


def _mean(exact: Mapping[str, float], coded: CodedAdapters, tasks: Collection[str]) -> dict:
    errors = [error for task in tasks for error in coded.errors[task].values()]
    return {"exact": 100 * mean(exact[task] for task in tasks), "error": mean(errors)}


def measured() -> list[dict]:
    """One record for each budget and draw of the first tasks."""
    adapters, evaluator = load_adapters(), zoo_evaluator()
    whole = Coder.from_adapters(adapters)
    records = []
    for budget in BUDGETS:
        limit = int(budget / 100 * adapters.fp16_bytes)
        together = whole.code(limit)
        for draw in range(DRAWS):
            first = sorted(Random(draw).sample(adapters.tasks, FIRST))
            later = of_the_first(adapters, first, limit)
            record = {
                "budget": budget,
                "first": first,
                "layout of all": scores(together, evaluator, first),
                "layout of the first": scores(later, evaluator, first),
            }
            records.append(record)
            print(record, flush=True)
    return records


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/results/later_tasks.json"))
    parser.parse_args().output.write_bytes(json_bytes(measured()))
