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

import numpy as np
import torch
import typer
from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
from executorch.runtime import Runtime
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from hydraopt.adapters import AdapterSet, Factors, LoraAdapter
from hydraopt.lowering.base_model import quantize_base
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.decoder import Decoder
from hydraopt.lowering.factors import module_shapes, slot_factors
from hydraopt.lowering.program import export_forward, lower, to_executorch, to_xnnpack
from hydraopt.lowering.slots import insert_slots
from hydraopt.merging import hydraopt
from hydraopt.packing import CodedAdapters, Coder, Decode, code_verbatim, read_layout, read_pack
from hydraopt.packing.codec import TRELLIS_BITS, step_table
from hydraopt.packing.layout import Section, payload_bytes
from hydraopt.packing.trellis import tables
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


def export_baked(adapters: AdapterSet, path: Path) -> None:
    model = random_llama()
    with torch.no_grad():
        for module, (a, b) in adapters.adapters[0].factors.items():
            model.get_submodule(module).weight.addmm_(b, a)
    quantize_base(model, "8da4w")
    path.write_bytes(
        lower({"forward": export_forward(Decoder(model, MAX_LENGTH, {}), {}, MAX_LENGTH)}).buffer
    )


class ConstantFactors(nn.Module):
    """A decoder whose factor inputs are its own buffers, multiplied by ``torch.bmm``."""

    def __init__(self, decoder: Decoder, names: list[str], factors: list[torch.Tensor]):
        super().__init__()
        self.decoder, self.names = decoder, names
        for index, factor in enumerate(factors):
            copy = factor.clone(memory_format=torch.contiguous_format)
            self.register_buffer(f"factor_{index}", copy)

    def forward(self, input_ids: torch.Tensor, cache_position: torch.Tensor) -> torch.Tensor:
        factors = {name: getattr(self, f"factor_{i}") for i, name in enumerate(self.names)}
        return self.decoder(input_ids, cache_position, factors)


def export_ptd(coded: CodedAdapters, task: str, directory: Path) -> tuple[Path, Path]:
    """One .pte without factors and the task's factors as a .ptd."""
    model = random_llama()
    inputs = insert_slots(model, module_shapes(coded.layout))
    quantize_base(model, "8da4w")
    factors = slot_factors(coded.task_factors(task))
    module = ConstantFactors(Decoder(model, MAX_LENGTH, inputs), [*factors], [*factors.values()])
    length = torch.export.Dim("sequence", min=1, max=MAX_LENGTH - 1)
    with torch.no_grad():
        exported = torch.export.export(
            module,
            (torch.zeros(1, 4, dtype=torch.int64), torch.arange(4)),
            dynamic_shapes={"input_ids": {1: length}, "cache_position": {0: length}},
            strict=True,
        )
    program = to_executorch(
        to_xnnpack({"forward": exported}),
        external_constants=lambda node: "factors" if "factor_" in node.name else None,
    )
    directory.mkdir()
    (directory / "model.pte").write_bytes(program.buffer)
    program.write_tensor_data_to_file(str(directory))
    (data,) = directory.glob("*.ptd")
    return directory / "model.pte", data


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
    model = random_llama()
    model.save_pretrained(root / "base")
    adapters = random_adapters(model, targets)
    verbatim = code_verbatim(hydraopt(adapters))
    budgeted = Coder.of(adapters).code(adapters.fp16_bytes // 10)
    sessions = {}
    for name, coded in (("budget", budgeted), ("verbatim", verbatim)):
        export_bundle(
            coded, str(root / "base"), root / name, quantize="8da4w", max_length=MAX_LENGTH
        )
        sessions[name] = Session.open(root / name)
        print("exported", name, flush=True)
    export_baked(adapters, root / "baked.pte")
    ptd = export_ptd(verbatim, "task0", root / "ptd")
    ways = {"baked": Forward(root / "baked.pte")}
    for name, coded in (("budget", budgeted), ("verbatim", verbatim)):
        factors = slot_factors(coded.task_factors("task0")).values()
        ways[name] = Forward(root / name / "model.pte", [f.contiguous() for f in factors])
    ways["ptd"] = Forward(ptd[0], data=ptd[1])
    return ways, sessions, ptd


def numpy_values(section: Section, payload: np.ndarray) -> np.ndarray:
    """A section's vectors, as ``Decode`` gives them, in numpy: ``[n, length]``."""
    codes = payload[section.offset : section.steps].reshape(-1, section.width)
    if section.bits in TRELLIS_BITS:
        current, previous = (table.numpy() for table in tables(section.bits))
        values = np.take(current, codes, axis=0)
        values += np.take(previous, np.roll(codes, 1, axis=1), axis=0)
        values = values.reshape(len(codes), -1)[:, : section.length]
    elif section.bits == 8:
        values = codes.astype(np.float32) - 127.5
    else:
        values = codes[:, : section.length] * np.float32(256)
        values += codes[:, section.length :] - np.float32(32767.5)
    steps = step_table().numpy()[payload[section.steps : section.end], 0]
    return values * (steps * [vector.top for vector in section.vectors])[:, None].astype(np.float32)


def decoding(bundle: Path, session: Session, count: int) -> dict[str, float]:
    """Median milliseconds of decoding a pack: in the program, in PyTorch, and in numpy.

    numpy is not charged for putting the values together into factors.
    """
    layout, shared = read_layout(bundle)
    pack = bundle / session.manifest.tasks[session.tasks[0]]
    task = read_pack(pack, payload_bytes(layout.task), layout.binding(shared))
    decode, arrays = Decode(layout), (shared.numpy(), task.numpy())

    def in_numpy() -> None:
        for payload, sections in zip(arrays, (layout.shared, layout.task), strict=True):
            for section in sections:
                numpy_values(section, payload)

    def in_pytorch() -> None:
        with torch.inference_mode():
            decode(shared, task)

    program = Runtime.get().load_program(str(bundle / "model.pte")).load_method("decode")
    ways = {
        "program": lambda: program.execute([shared, task]),
        "pytorch": in_pytorch,
        "numpy": in_numpy,
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
