"""Measure time and peak memory of compression and of every data-free merging method.

    python tests/benchmarks/method_costs.py [--layers N] [-o results.json] [METHOD …]

The input is 40 random adapters of Llama-3.2-1B's shape, r = 16 on q, k, v and o; `compress` codes
them into 10 % of their bytes. Each method runs at its defaults in its own process. The growth is
memory on top of the adapters, including the result.
"""

import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import torch
import typer
from memory import peak_bytes

TASKS, RANK, LAYERS, SHARE = 40, 16, 16, 0.1
COMPRESS = "compress"
SHAPES = {
    "q_proj": (2048, 2048),
    "k_proj": (512, 2048),
    "v_proj": (512, 2048),
    "o_proj": (2048, 2048),
}


def random_adapters(layers: int):
    """An ``AdapterSet`` whose A's are near a common one, as after one initialisation."""
    from hydraopt.adapters import AdapterSet, LoraAdapter
    from hydraopt.factors import Factors

    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    common = {name: randn(RANK, columns) for name, (_, columns) in SHAPES.items()}
    return AdapterSet(
        LoraAdapter(
            f"task{task}",
            "meta-llama/Llama-3.2-1B",
            {
                f"layers.{layer}.self_attn.{name}": Factors(
                    common[name] + 0.3 * randn(RANK, columns), randn(rows, RANK)
                )
                for layer in range(layers)
                for name, (rows, columns) in SHAPES.items()
            },
        )
        for task in range(TASKS)
    )


def measure(method: str, layers: int) -> dict[str, float]:
    """Wall and CPU seconds, peak bytes of memory and their growth."""
    from hydraopt.merging import merge_with
    from hydraopt.packing import Coder

    adapters = random_adapters(layers)
    before, start, cpu_start = peak_bytes(), time.perf_counter(), time.process_time()
    if method == COMPRESS:
        Coder.from_adapters(adapters).code(int(SHARE * adapters.fp16_bytes))
    else:
        merge_with(method, adapters)
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - cpu_start, 2),
        "peak_bytes": peak_bytes(),
        "growth_bytes": peak_bytes() - before,
    }


def main(
    methods: Annotated[list[str] | None, typer.Argument(help="Methods; all by default.")] = None,
    layers: Annotated[int, typer.Option(min=1, help="Layers of the model.")] = LAYERS,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
) -> None:
    """Measure methods, each in a process of its own."""
    from hydraopt.merging import METHODS

    free = [name for name, found in METHODS.items() if found.needs == "nothing"]
    found: dict[str, dict] = {}
    for method in methods or [COMPRESS, *free]:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found[method] = pool.submit(measure, method, layers).result()
        print(method, found[method], flush=True)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        record = {"tasks": TASKS, "rank": RANK, "layers": layers, "methods": found}
        output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
