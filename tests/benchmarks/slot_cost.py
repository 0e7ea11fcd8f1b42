"""Break down a slot's time: its rows, its product, and packing the columns it gets as an input.

    python tests/benchmarks/slot_cost.py [-o results.json]

Measures sums of slots without their layers (r = 16, one position, one thread) in turns: shared rows
alone, with constant columns, and with columns as inputs. XNNPACK packs an input in every call, a
constant once on loading. "warm" is one call after another; "cold" first reads as many bytes as a
model's other weights take. A slot in a model lies between the two.
"""

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import torch
import typer
from in_turns import Program, in_turns, load, processor, register_operators, use_threads
from torch import nn
from torch.nn import functional as F

from hydraopt.lowering.backends import find_backend
from hydraopt.packing import rounded_rows

RANK = 16
# [in, out] of the layers, and how many of them
MODELS = {
    "SmolLM2-135M": (30, ((576, 576), (576, 192), (576, 1536), (1536, 576))),
    "Llama-3.2-1B": (16, ((2048, 2048), (2048, 512), (2048, 8192), (8192, 2048))),
}
OTHER_BYTES = 100_000_000  # of a model's other weights, more than its caches hold


class Parts(NamedTuple):
    """Microseconds of one slot."""

    rows: float
    product: float
    packing: float


class Slots(nn.Module):
    """The sum of ``count`` slots of one ``x [1, 1, in]``, as far as ``until``."""

    def __init__(self, size: tuple[int, int], count: int, until: str):
        super().__init__()
        width, out = size
        self.rows = nn.ModuleList(
            find_backend().row_layer(rounded_rows(torch.randn(RANK, width))) for _ in range(count)
        )
        constant = until == "constant columns"
        self.columns = [torch.randn(out, RANK) for _ in range(count)] if constant else []

    def forward(self, x: torch.Tensor, factors: dict[str, torch.Tensor]) -> torch.Tensor:
        """``factors`` are columns ``[1, RANK, out]``, of slots that have them as inputs."""
        down = [rows(x) for rows in self.rows]
        if factors:
            return sum(map(find_backend().product, down, factors.values()))
        return sum(map(F.linear, down, self.columns) if self.columns else down)


def call_of(size: tuple[int, int], count: int, until: str, directory: Path) -> Callable[[], Any]:
    """A call of the lowered program."""
    from hydraopt.lowering.program import export_module, lower

    inputs = count if until == "columns as inputs" else 0
    shapes = {f"factor{i}": (1, RANK, size[1]) for i in range(inputs)}
    x = torch.randn(1, 1, size[0])
    exported = export_module(Slots(size, count, until), (x,), {"x": None}, shapes)
    path = directory / f"{until}.pte"
    path.write_bytes(lower({"forward": exported}, find_backend()).buffer)
    arguments = [x, *(torch.randn(shape) for shape in shapes.values())]
    method = load(Program(until, path, lambda *_: arguments))[0]
    return lambda: method.execute(arguments)


def parts(size: tuple[int, int], count: int, rounds: int) -> dict[str, Parts]:
    """What a slot of a layer ``[in, out]`` takes, warm and cold."""
    until = ("rows", "constant columns", "columns as inputs")
    others = torch.ones(OTHER_BYTES // 4)
    with TemporaryDirectory() as directory:
        calls = {name: call_of(size, count, name, Path(directory)) for name in until}
        found = {"warm": in_turns(calls, rounds), "cold": in_turns(calls, rounds, others.sum)}
    return {state: differences(times, count) for state, times in found.items()}


def differences(times: Mapping[str, list[float]], count: int) -> Parts:
    """Of the programs' milliseconds, each of which has one part more than the one before."""
    rows, constant, inputs = (1e3 * median(found) / count for found in times.values())
    return Parts(rows, constant - rows, inputs - constant)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Calls of every program.")] = 40,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
) -> None:
    """Measure and print."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    register_operators()
    use_threads(1)
    found = {}
    for model, (count, sizes) in MODELS.items():
        for size in sizes:
            layer = f"{model} {size[0]} x {size[1]}"
            slots = parts(size, count, rounds)
            found[layer] = {state: slot._asdict() for state, slot in slots.items()}
            for state, slot in slots.items():
                figures = ", ".join(f"{name} {time:.1f}" for name, time in slot._asdict().items())
                print(f"{layer}, {state}: {figures} us", flush=True)
    if output:
        output.write_text(json.dumps({"machine": processor(), "us": found}, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
