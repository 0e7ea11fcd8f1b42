"""One set of shared rows for all tasks, beside a set for each group of alike tasks, at equal bytes.

    python tests/benchmarks/task_groups.py [-o docs/results/task_groups.json]

Sets are the zoo's 40 adapters, which were trained from one initialisation, and copies of them whose
inputs are turned, module by module, as if each copy had been trained from another one. Groups are
found by the overlap of the adapters' input subspaces, and each is coded in a layout of its own,
which is more freedom than a format with rows for each group would leave. Scores are those of the
adapters turned back, on 50 unseen inputs of each task.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean

import torch
from sklearn.cluster import AgglomerativeClustering

from hydraopt.adapters import AdapterSet, LoraAdapter
from hydraopt.evaluation import Evaluator
from hydraopt.factors import Factors
from hydraopt.files import json_bytes
from hydraopt.packing import CodedAdapters, Coder
from hydraopt.zoo import load_adapters
from hydraopt.zoo.evaluate import zoo_evaluator

BUDGETS = (3.5, 5)  # per cent of fp16
INPUTS = 50
SETS = {  # initialisations -> tasks of each, numbers of groups
    1: (40, (1, 2, 4, 8)),
    3: (33, (1, 3)),
    8: (12, (1, 8)),
}
Turns = Mapping[str, torch.Tensor]  # module -> an orthogonal matrix, [in, in]


def turns(adapters: AdapterSet, copy: int) -> Turns:
    """Random rotations of every module's inputs; none of the first copy."""
    generator = torch.Generator().manual_seed(copy)

    def turn(width: int) -> torch.Tensor:
        random = torch.randn(width, width, generator=generator, dtype=torch.float64)
        return torch.linalg.qr(random).Q.float() if copy else torch.eye(width)

    return {module: turn(width) for module, (_, width) in adapters.shapes.items()}


def turned(adapters: AdapterSet, copies: int, tasks: int) -> AdapterSet:
    """Copies of the first tasks, named ``task.copy``."""
    return AdapterSet(
        LoraAdapter(
            f"{x.name}.{copy}",
            x.base_model,
            {m: Factors(f.a @ of_copy[m], f.b) for m, f in x.factors.items()},
        )
        for copy in range(copies)
        for of_copy in [turns(adapters, copy)]
        for x in adapters.adapters[:tasks]
    )


def overlap(adapters: AdapterSet) -> torch.Tensor:
    """Mean cosine over modules of ``D^T D`` of two tasks, ``[T, T]``."""
    total = torch.zeros(len(adapters.tasks), len(adapters.tasks), dtype=torch.float64)
    for module in adapters.shapes:
        factors = [x.factors[module] for x in adapters.adapters]
        seen = torch.stack([torch.linalg.qr(b).R @ a for a, b in factors]).double()
        inner = torch.einsum("tri,usi->turs", seen, seen).square().sum((2, 3))
        norms = inner.diagonal().sqrt()
        total += inner / norms / norms[:, None]
    return total / len(adapters.shapes)


def grouped(adapters: AdapterSet, count: int) -> Iterator[AdapterSet]:
    """The adapters in so many groups of large overlap."""
    if count == 1:
        yield adapters
        return
    clusters = AgglomerativeClustering(count, metric="precomputed", linkage="average")
    labels = clusters.fit_predict((1 - overlap(adapters)).numpy())
    for group in range(count):
        yield AdapterSet(
            x for x, label in zip(adapters.adapters, labels, strict=True) if label == group
        )


def exact(coded: CodedAdapters, back: Mapping[str, Turns], evaluator: Evaluator) -> list[float]:
    """Exact match of every task, once turned back."""
    scores = []
    for name in coded.tasks:
        task, _, copy = name.rpartition(".")
        turn = back[copy]
        factors = {m: Factors(a @ turn[m].T, b) for m, (a, b) in coded.task_factors(name).items()}
        scores.append(evaluator.scores([task], {task: factors}.__getitem__)[task].exact)
    return scores


def measured() -> Iterator[dict]:
    """One record for each set, number of groups and budget."""
    zoo, evaluator = load_adapters(), zoo_evaluator(INPUTS)
    for copies, (tasks, counts) in SETS.items():
        adapters = turned(zoo, copies, tasks)
        back = {f"{copy}": turns(zoo, copy) for copy in range(copies)}
        for count in counts:
            coders = [Coder.from_adapters(group) for group in grouped(adapters, count)]
            for budget in BUDGETS:
                coded = [x.code(int(budget / 100 * x.adapters.fp16_bytes)) for x in coders]
                errors = [e for x in coded for of in x.errors.values() for e in of.values()]
                yield {
                    "initialisations": copies,
                    "tasks": len(adapters.tasks),
                    "groups": [len(x.tasks) for x in coded],
                    "budget": budget,
                    "share": sum(x.stored_bytes for x in coded) / adapters.fp16_bytes,
                    "mean_squared_error": mean(e * e for e in errors),
                    "exact": 100 * mean(s for x in coded for s in exact(x, back, evaluator)),
                }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/results/task_groups.json"))
    output, records = parser.parse_args().output, []
    for record in measured():
        print(record, flush=True)
        records.append(record)
    output.write_bytes(json_bytes(records))


if __name__ == "__main__":
    main()
