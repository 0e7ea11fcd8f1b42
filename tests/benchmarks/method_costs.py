"""Time and peak memory of every data-free method on 40 adapters of Llama-3.2-1B's shape.

    python tests/benchmarks/method_costs.py [--layers N] [METHOD …]

r = 16 on q, k, v and o of 16 layers, random values, every method at its defaults in a process of
its own. The growth is what a merge needs on top of the adapters themselves, its result included.
"""

import subprocess
import sys
import time
from typing import Annotated

import typer
from merge_memory import LAYERS, peak_mib, random_adapters


def measure(method: str, layers: int) -> None:
    """Merge once and print wall and CPU seconds, the peak memory and its growth."""
    from hydraopt.merging import merge_with

    adapters = random_adapters(layers)
    before, start, cpu_start = peak_mib(), time.perf_counter(), time.process_time()
    merged = merge_with(method, adapters)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    error = merged.settings.get("projection_error", "–")
    print(
        f"{method:16s} {seconds:7.1f} s ({cpu:7.1f} s CPU)   peak {peak_mib():5.0f} MiB "
        f"(+{peak_mib() - before:4.0f})   projection error {error}",
        flush=True,
    )


def main(
    methods: Annotated[list[str] | None, typer.Argument(help="Methods; all by default.")] = None,
    layers: Annotated[int, typer.Option(min=1, help="Layers of the model.")] = LAYERS,
    here: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Measure methods, each in a process of its own."""
    from hydraopt.merging import METHODS

    chosen = methods or [name for name, found in METHODS.items() if found.needs == "nothing"]
    if here:
        measure(chosen[0], layers)
        return
    for method in chosen:
        command = [sys.executable, __file__, method, "--layers", str(layers), "--here"]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    typer.run(main)
