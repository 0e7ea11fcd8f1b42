"""Time and memory of coding 40 adapters into 10 % of their bytes.

    python tests/benchmarks/coding_cost.py [--layers 16]

Random adapters of Llama-3.2-1B's shape (r = 16, q, k, v and o), and the bundled zoo's.
"""

import resource
import time
from typing import Annotated

import typer
from merge_memory import random_adapters

from hydraopt.adapters import AdapterSet
from hydraopt.packing import Coder
from hydraopt.zoo import load_adapters

SHARE = 0.1


def report(name: str, adapters: AdapterSet) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    coded = Coder.from_adapters(adapters).code(int(SHARE * adapters.fp16_bytes))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{name}: {adapters.fp16_bytes / 1e6:.0f} MB coded into {coded.share:.1%} in "
        f"{seconds:.0f} s; peak memory {peak / 1024:.0f} MiB, {(peak - before) / 1024:.0f} MiB "
        "above what the adapters take",
        flush=True,
    )


def main(
    layers: Annotated[int, typer.Option(help="Layers of the random adapters.")] = 16,
) -> None:
    """Code both sets and print."""
    report("zoo", load_adapters())
    report(f"40 adapters, {layers} layers of Llama-3.2-1B's shape", random_adapters(layers))


if __name__ == "__main__":
    typer.run(main)
