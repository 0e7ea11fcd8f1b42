"""Measure what other rates of the trellis code, and an entropy coder behind it, would save.

    PYTHONPATH=tests/benchmarks python tests/benchmarks/code_rates.py -o docs/results/rates.json

A byte of the trellis stands for 8 / bits values, so it can also stand for 3 (2.67 bits a value), 5,
6, 12 or 16. Tables for these are trained as the codec's, and the allocation may choose them; each
budget is measured with two per cent less and more, too, since single points scatter. The entropy
coders are ideal ones that learn frequencies as they go: of bytes, or of bytes after each byte.
"""

import itertools
import lzma
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from statistics import mean
from unittest.mock import patch

import numpy as np
import torch
import typer
from adapter_sets import EVERY_SET, Budgets, Inputs, Jobs, Output, Sets, adapters_of
from train_trellis import train

from hydraopt.adapters import AdapterSet
from hydraopt.evaluation import Evaluator
from hydraopt.files import replaced_file, write_json
from hydraopt.formats import codes
from hydraopt.packing import CodedAdapters, Coder, allocate, codec, trellis
from hydraopt.zoo import BASE
from hydraopt.zoo.tasks import test_examples

ROUNDS, VECTORS = 20, 1000  # of training, which is within a per cent of longer ones
AROUND = (0.98, 1.0, 1.02)
ARMS = {"today": (), "3": (3,), "3, 5, 6, 12, 16": (3, 5, 6, 12, 16)}  # values of a byte
PRIOR = 1 / 16  # count of a byte that was not seen yet


@cache
def _tables(per_byte: int) -> trellis.Tables:
    return train(per_byte, ROUNDS, VECTORS)


@cache
def distortion(per_byte: int) -> float:
    """Relative squared error of unit Gaussians, as ``DISTORTION`` has it."""
    x = torch.randn(300, 32 * per_byte, generator=torch.Generator().manual_seed(0))
    decoded = trellis.trellis_values(trellis.search(x, _tables(per_byte)), _tables(per_byte))
    return 1 - float((x * decoded).sum() ** 2 / (x.square().sum() * decoded.square().sum()))


@contextmanager
def more_rates(per_byte: Sequence[int]) -> Iterator[None]:
    """Let the codec and the allocation use other numbers of values per byte."""
    more = {8 / n: n for n in per_byte}
    packed_bytes, tables = codes.packed_bytes, trellis.tables
    distortions = allocate.DISTORTION | {bits: distortion(n) for bits, n in more.items()}
    private = tuple(sorted({*allocate.PRIVATE_BITS, *more}))
    choices = itertools.starmap(allocate.Choice, itertools.product(distortions, private))
    values = {
        "formats.layout.packed_bytes": (
            sized := lambda n, b: -(-n // more[b]) if b in more else packed_bytes(n, b)
        ),
        "packing.allocate.packed_bytes": sized,
        "packing.codec.tables": (found := lambda b: _tables(more[b]) if b in more else tables(b)),
        "packing.unpack.tables": found,
        "packing.codec.TRELLIS_BITS": (trellis_bits := (*codec.TRELLIS_BITS, *more)),
        "packing.unpack.TRELLIS_BITS": trellis_bits,
        "packing.allocate.DISTORTION": distortions,
        "packing.allocate.PRIVATE_BITS": private,
        "packing.allocate.CHOICES": (allocate.Choice(0, 0), *choices),
    }
    with ExitStack() as stack:
        for name, value in values.items():
            stack.enter_context(patch(f"hydraopt.{name}", value))
        yield


def rates(adapters: AdapterSet, coder: Coder, budgets: Sequence[float], inputs: int) -> dict:
    """What each set of rates loses at each budget: points of exact match, and nats."""
    examples = {task: test_examples(task, inputs) for task in adapters.tasks}
    evaluator = Evaluator.load(str(BASE), examples)
    trained = {x.name: x.factors for x in adapters.adapters}

    def scores(factors) -> np.ndarray:
        found = evaluator.scores(adapters.tasks, factors).values()
        return np.array([100 * mean(x.exact for x in found), mean(x.nats for x in found)])

    whole = scores(trained.__getitem__)
    record: dict[str, dict] = {}
    for budget, (name, per_byte) in itertools.product(budgets, ARMS.items()):
        with more_rates(per_byte):
            found = [
                scores(coder.code(int(budget / 100 * near * adapters.fp16_bytes)).task_factors)
                for near in AROUND
            ]
        exact, nats = (np.mean(found, 0) - whole).tolist()
        record.setdefault(f"{budget:g}", {})[name] = {"lost": -exact, "nats": nats}
        print(budget, name, record[f"{budget:g}"][name], flush=True)
    return record


def parts(coded: CodedAdapters) -> dict[str, list[np.ndarray]]:
    """The stored bytes by what they hold, as arrays of vectors."""
    found: dict[str, list[np.ndarray]] = {}
    for section in coded.layout.task:
        for payload in coded.payloads.values():
            vectors = payload[section.offset : section.steps].view(-1, section.width)
            found.setdefault("columns and private rows", []).append(vectors.numpy())
            steps = payload[section.steps : section.end]
            found.setdefault("steps", []).append(steps[None].numpy())
    for section in coded.layout.shared:
        vectors = coded.shared[section.offset : section.steps].view(-1, section.width)
        found.setdefault("shared rows", []).append(vectors.numpy())
        steps = coded.shared[section.steps : section.end]
        found.setdefault("steps", []).append(steps[None].numpy())
    return found


def entropies(coded: CodedAdapters) -> dict:
    """Bytes of each part, and the share of them that each coder would leave."""
    record = {}
    for name, arrays in parts(coded).items():
        content = b"".join(x.tobytes() for x in arrays)
        vectors = [vector for x in arrays for vector in x]
        size = len(content)
        record[name] = {
            "bytes": size,
            "order 0": learnt_bytes(vectors, order=0) / size,
            "order 1": learnt_bytes(vectors, order=1) / size,
            "zlib": len(zlib.compress(content, 9)) / size,
            "lzma": len(lzma.compress(content)) / size,
        }
    total = sum(x["bytes"] for x in record.values())
    best = {name: min(1, *(v for k, v in x.items() if k != "bytes")) for name, x in record.items()}
    record["all, each by its best"] = {
        "bytes": total,
        "left": sum(best[name] * record[name]["bytes"] for name in best) / total,
    }
    return record


def learnt_bytes(vectors: Sequence[np.ndarray], order: int) -> float:
    """Bytes of an ideal arithmetic code with frequencies of the bytes so far."""
    counts = np.full((256, 256) if order else (1, 256), PRIOR)
    sums, bits = counts.sum(1), 0.0
    for vector in vectors:
        before = 0
        for byte in vector.tolist():
            bits -= math.log2(counts[before, byte] / sums[before])
            counts[before, byte] += 1
            sums[before] += 1
            before = byte if order else 0
    return bits / 8


def bounds() -> Mapping[str, dict]:
    """By rate: its error, and the bits that Shannon's bound needs for it, whatever the memory."""
    return {
        str(bits): {"error": error, "bound": -math.log2(error) / 2}
        for bits, error in allocate.DISTORTION.items()
        if bits in codec.TRELLIS_BITS
    }


def main(
    output: Output,
    sets: Sets = EVERY_SET,
    budgets: Budgets = "3.5,5,10",
    inputs: Inputs = 50,
    jobs: Jobs = 2,
) -> None:
    """Measure all sets."""
    shares, record = [float(x) for x in budgets.split(",")], {}
    for name in sets.split(";"):
        adapters = adapters_of(name, jobs)
        coder = Coder.from_adapters(adapters)
        record[name] = {
            "entropy": {
                f"{x:g}": entropies(coder.code(int(x / 100 * adapters.fp16_bytes))) for x in shares
            },
            "rates": rates(adapters, coder, shares, inputs),
        }
        with replaced_file(output) as staging:
            write_json(staging, {"inputs": inputs, "bounds": bounds(), "sets": record})


if __name__ == "__main__":
    typer.run(main)
