"""Decode, prefill and task switch of slots against the alternatives, in one interleaved run.

    python tests/benchmarks/decode_and_swap.py [-o results.json]

A random Llama (d = 1024, 8 layers, 8da4w) with rank-16 adapters on the attention layers (q, k, v
and o, the paper's choice) or on all linear layers:

- baked: the adapter merged into the base, the latency floor;
- budget: a bundle of adapters coded into 10 % of their fp16 bytes; a switch reads the pack and
  decodes it in the program;
- verbatim: a bundle of the same adapters with 16 bits per value;
- ptd: factors as program-level constants in a .ptd file, one per task, so that a switch loads
  .pte and .ptd again.

It also decodes the same packs on the host, vectorised in numpy and in PyTorch.
"""

import json
import logging
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated

import torch
import typer
from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
from executorch.runtime import Runtime
from numpy_decode import numpy_decode
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from hydraopt.adapters import AdapterSet, Factors, LoraAdapter
from hydraopt.lowering.alternatives import read_alternatives, write_alternatives
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.factors import slot_factors
from hydraopt.merging import hydraopt
from hydraopt.packing import Coder, Decode, code_verbatim, read_layout, read_pack
from hydraopt.packing.layout import payload_bytes
from hydraopt.runtime import Session

RANK, TASKS, MAX_LENGTH, PREFILL = 16, 4, 256, 128
BASE_ID = "benchmark/random-llama"


def random_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=8,
        num_attention_heads=16,
        num_key_value_heads=8,
        max_position_embeddings=MAX_LENGTH,
        attn_implementation="eager",
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


def random_adapters(model: nn.Module, targets: str) -> AdapterSet:
    """Adapters with A's around a common initialisation, of layers whose name has ``targets``."""
    generator = torch.Generator().manual_seed(1)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and targets in name
    }
    common = {name: randn(RANK, x.in_features) / x.in_features**0.5 for name, x in layers.items()}
    return AdapterSet(
        LoraAdapter(
            f"task{task}",
            BASE_ID,
            {
                name: Factors(common[name], 0.1 * randn(layer.out_features, RANK))
                for name, layer in layers.items()
            },
        )
        for task in range(TASKS)
    )


class Forward:
    """One way of running the model: a method, its factor inputs, and timed calls."""

    def __init__(self, pte: Path, factors: list[torch.Tensor] = (), data: Path | None = None):
        self.factors = list(factors)
        self.program = Runtime.get().load_program(str(pte), data_path=data)
        self.method = self.program.load_method("forward")

    def __call__(self, position: int, length: int) -> float:
        """Milliseconds of one call with ``length`` tokens at ``position``."""
        ids = torch.arange(length).remainder(8192)[None]
        positions = torch.arange(position, position + length)
        start = time.perf_counter()
        self.method.execute([ids, positions, *self.factors])
        return 1e3 * (time.perf_counter() - start)


def interleaved(ways: dict[str, Forward], rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of prefill and decode; the ways take turns call by call."""
    prefill = {name: [] for name in ways}
    decode = {name: [] for name in ways}
    for turn in range(rounds):
        for name, forward in ways.items():
            prefill[name].append(forward(0, PREFILL))
        for step in range(10):
            for name, forward in ways.items():
                decode[name].append(forward(PREFILL + step + turn % 10, 1))
    warm = slice(len(prefill["baked"]) // 5, None), slice(len(decode["baked"]) // 5, None)
    return {
        name: {
            "prefill_ms": median(prefill[name][warm[0]]),
            "decode_ms": median(decode[name][warm[1]]),
        }
        for name in ways
    }


def switching(session: Session, count: int) -> list[float]:
    """Milliseconds of each switch among all tasks: file, checksum, decode."""
    times = []
    for index in range(count):
        start = time.perf_counter()
        session.switch(session.tasks[index % len(session.tasks)])
        times.append(1e3 * (time.perf_counter() - start))
    return times[count // 5 :]


def reloading(pte: Path, data: Path, count: int) -> list[float]:
    """Milliseconds of loading .pte and .ptd again, up to a method that can run."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        Forward(pte, data=data)
        times.append(1e3 * (time.perf_counter() - start))
    return times[1:]


def percentiles(times: list[float]) -> dict[str, float]:
    steps = quantiles(times, n=20)
    return {"p50_ms": steps[9], "p95_ms": steps[18]}


def prepare(
    root: Path, targets: str
) -> tuple[dict[str, Forward], dict[str, Session], tuple[Path, Path]]:
    """Export all variants below ``root``."""
    base = str(root / "base")
    model = random_llama()
    model.save_pretrained(base)
    adapters = random_adapters(model, targets)
    budgeted = Coder.of(adapters).code(adapters.fp16_bytes // 10)
    bundles = {"budget": budgeted, "verbatim": code_verbatim(hydraopt(adapters))}
    sessions, ways = {}, {}
    for name, coded in bundles.items():
        export_bundle(coded, base, root / name, quantize="8da4w", max_length=MAX_LENGTH)
        sessions[name] = Session.open(root / name)
        factors = slot_factors(coded.task_factors("task0")).values()
        ways[name] = Forward(root / name / "model.pte", [f.contiguous() for f in factors])
        print("exported", name, flush=True)
    write_alternatives(
        coded.task_factors("task0"), sessions[name].manifest, base, root, ("baked", "ptd")
    )
    others = read_alternatives(root)
    ways["baked"] = Forward(others["baked"].program)
    ways["ptd"] = Forward(others["ptd"].program, data=others["ptd"].data)
    return ways, sessions, others["ptd"].files


def decoding(bundle: Path, session: Session, count: int) -> dict[str, float]:
    """Median milliseconds of decoding a pack: in the program, in PyTorch, and in numpy.

    numpy is not charged for putting the values together into factors.
    """
    layout, shared = read_layout(bundle)
    pack = bundle / session.manifest.tasks[session.tasks[0]]
    task = read_pack(pack, payload_bytes(layout.task), layout.binding(shared))
    decode = Decode(layout)

    def in_pytorch() -> None:
        with torch.inference_mode():
            decode(shared, task)

    program = Runtime.get().load_program(str(bundle / "model.pte")).load_method("decode")
    ways = {
        "program": lambda: program.execute([shared, task]),
        "pytorch": in_pytorch,
        "numpy": lambda: numpy_decode(layout, shared.numpy(), task.numpy()),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(count):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: median(found[count // 5 :]) for name, found in times.items()}


def main(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
    targets: Annotated[str, typer.Option(help="self_attn, or layers for all.")] = "self_attn",
    rounds: Annotated[int, typer.Option(help="Prefills and tens of decode steps.")] = 20,
    threads: Annotated[int, typer.Option(help="Threads of the runtime.")] = 1,
) -> None:
    """Export all variants, run them in turns and print ratios."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    _unsafe_reset_threadpool(threads)
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as directory:
        ways, sessions, ptd = prepare(Path(directory), targets)
        results = {"targets": targets, "threads": threads, "steps": interleaved(ways, rounds)}
        results["switch"] = {
            name: percentiles(switching(session, 200)) for name, session in sessions.items()
        }
        results["decode_pack"] = {
            name: decoding(Path(directory) / name, session, 25)
            for name, session in sessions.items()
        }
        results["reload"] = percentiles(reloading(*ptd, 12))
    floor = results["steps"]["baked"]
    print(f"adapters on: {targets}, {threads} thread(s)")
    for name, row in results["steps"].items():
        ratios = [100 * (row[key] / floor[key] - 1) for key in ("decode_ms", "prefill_ms")]
        print(
            f"{name:8s} decode {row['decode_ms']:6.2f} ms ({ratios[0]:+5.1f} %)   "
            f"prefill {row['prefill_ms']:7.1f} ms ({ratios[1]:+5.1f} %)"
        )
    for name, row in results["switch"].items():
        faster = results["reload"]["p50_ms"] / row["p50_ms"]
        print(
            f"switch {name:8s} p50 {row['p50_ms']:.2f} ms, p95 {row['p95_ms']:.2f} ms; "
            f"{faster:.0f} x faster than reloading .pte + .ptd "
            f"({results['reload']['p50_ms']:.1f} ms)"
        )
    for name, row in results["decode_pack"].items():
        print(f"decode a pack of {name}:", ", ".join(f"{k} {v:.2f} ms" for k, v in row.items()))
    if output:
        output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
