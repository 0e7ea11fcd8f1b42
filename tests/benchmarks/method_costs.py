"""Measure time and peak memory of compressing and of merging, beside PEFT's own merging.

    python tests/benchmarks/method_costs.py [--layers N] [-o results.json] [NAME …]

The input is 40 random adapters of Llama-3.2-1B's shape, r = 16 on q, k, v and o, in files. Each
row is a process of its own that reads them, computes, and writes the result: ``compress`` codes
them into 10 % of their bytes, ``compress to 5 %`` into half of that; the methods of ``hydraopt
merge`` that need no data run at their defaults; PEFT loads them into the model and runs
``add_weighted_adapter``. ``read and write`` only reads all adapters and writes one. Memory is the
peak above what the process had before reading.
"""

import json
import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from memory import peak_bytes
from random_adapters import random_adapters
from transformers import LlamaConfig, LlamaForCausalLM

from hydraopt import parallel
from hydraopt.adapters import read_adapters, write_adapter
from hydraopt.files import write_json, write_tensors
from hydraopt.merging import METHODS, merge_with
from hydraopt.packing import Coder
from hydraopt.reading import file_tensors

TASKS, RANK, LAYERS = 40, 16, 4
MODULES = 4  # of a layer
WEIGHTS = "adapter_model.safetensors"
COMPRESS, LEAST, BARE = "compress", "compress to 5 %", "read and write"
PEFT_TYPES = ("cat", "svd", "ties_svd")


def model(layers: int) -> LlamaForCausalLM:
    """Llama-3.2-1B's shape, with a vocabulary of 8 and no MLP to speak of."""
    config = LlamaConfig(
        hidden_size=2048,
        intermediate_size=8,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=8,
    )
    return LlamaForCausalLM(config)


def write(directory: Path, tasks: int, rank: int, layers: int) -> list[Path]:
    """Write random adapters as PEFT does."""
    made = random_adapters(model(layers), "base", "self_attn", tasks, rank)
    paths = []
    for adapter in made.adapters:
        paths.append(directory / adapter.name)
        write_adapter(paths[-1], adapter.factors, "base")
    return paths


def bare(paths: list[Path], output: Path, layers: int) -> None:
    """Read all adapters, and write one of them."""
    for path in paths:
        tensors = file_tensors(path / WEIGHTS)
    write_tensors(output, tensors)


def compressing(share: float) -> Callable[[list[Path], Path, int], None]:
    """As ``hydraopt compress`` does."""

    def compress(paths: list[Path], output: Path, layers: int) -> None:
        adapters = read_adapters(paths)
        Coder.from_adapters(adapters).code(int(share * adapters.fp16_bytes)).save(output)

    return compress


def merging(method: str) -> Callable[[list[Path], Path, int], None]:
    """As ``hydraopt merge`` does."""
    return lambda paths, output, layers: merge_with(method, read_adapters(paths)).save(output)


def peft(kind: str) -> Callable[[list[Path], Path, int], None]:
    """As PEFT's documentation says, with its cheaper SVD."""

    def merge(paths: list[Path], output: Path, layers: int) -> None:
        from peft import PeftModel

        names = [path.name for path in paths]
        loaded = PeftModel.from_pretrained(model(layers), paths[0], adapter_name=names[0])
        for path in paths[1:]:
            loaded.load_adapter(path, adapter_name=path.name)
        loaded.add_weighted_adapter(
            names,
            [1 / len(names)] * len(names),
            "merged",
            combination_type=kind,
            svd_full_matrices=False,
            density=0.2 if kind == "ties_svd" else None,
        )
        loaded.save_pretrained(output, selected_adapters=["merged"])

    return merge


def ways() -> Mapping[str, Callable[[list[Path], Path, int], None]]:
    """All rows by name."""
    free = [name for name, found in METHODS.items() if found.needs == "nothing"]
    return {
        BARE: bare,
        COMPRESS: compressing(0.1),
        LEAST: compressing(0.05),
        **{f"PEFT {kind}": peft(kind) for kind in PEFT_TYPES},
        **{name: merging(name) for name in free},
    }


def measure(name: str, paths: list[Path], layers: int, jobs: int | None) -> dict[str, float]:
    """Wall and CPU seconds, and the growth of memory in bytes."""
    with TemporaryDirectory() as directory, parallel.jobs(jobs):
        if jobs:
            torch.set_num_threads(jobs)
        before, start, cpu_start = peak_bytes(), time.perf_counter(), time.process_time()
        ways()[name](paths, Path(directory) / "output", layers)
        return {
            "seconds": round(time.perf_counter() - start, 2),
            "cpu_seconds": round(time.process_time() - cpu_start, 2),
            "growth_bytes": peak_bytes() - before,
        }


def alone(*arguments: Any) -> dict[str, float]:
    """:func:`measure` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Rows; all by default.")] = None,
    tasks: Annotated[int, typer.Option(min=2, help="Number of adapters.")] = TASKS,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the adapters.")] = RANK,
    layers: Annotated[int, typer.Option(min=1, help="Layers of the model.")] = LAYERS,
    jobs: Annotated[int | None, typer.Option(min=1, help="Cores; by default all.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
) -> None:
    """Measure, each row in a process of its own."""
    found: dict[str, dict] = {}
    with TemporaryDirectory() as directory:
        paths = write(Path(directory), tasks, rank, layers)
        size = sum((path / WEIGHTS).stat().st_size for path in paths)
        for name in names or ways():
            found[name] = alone(name, paths, layers, jobs)
            print(name, json.dumps(found[name]), flush=True)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        shape = {"tasks": tasks, "rank": rank, "layers": layers, "jobs": jobs, "bytes": size}
        write_json(output, {**shape, "rows": found})


if __name__ == "__main__":
    typer.run(main)
