"""Measure opening, checking and changing bundles of many tasks.

    python tests/benchmarks/many_tasks.py [-o docs/results/many_tasks.json]

The base and the adapters are tiny and random, so that times are those of files and records. Times
are of the processor, without waiting for the disk, and the least of several calls in one process;
verifying is per task, all others per call.
"""

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import torch
import typer
from random_adapters import random_adapters
from transformers import LlamaConfig, LlamaForCausalLM

from hydraopt.adapters import AdapterSet, write_adapter
from hydraopt.bundles import add_task, remove_task
from hydraopt.files import json_bytes
from hydraopt.formats.manifest import MANIFEST, Manifest
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.settings import ExportSettings
from hydraopt.merging.hydraopt import hydraopt
from hydraopt.packing import code_verbatim
from hydraopt.runtime import Session, verify

TASKS = "40,200,1000"
CALLS = 9  # of each kind
TINY = LlamaConfig(
    vocab_size=256,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    max_position_embeddings=32,
    bos_token_id=None,
    eos_token_id=255,
)


def measured(work: Path, tasks: int, single: bool) -> dict:
    """Export a bundle of so many tasks, and return its figures."""
    bundle, *added = exported(work, tasks, single)
    names = [f"added{number}" for number in range(len(added))]
    session = Session.open(bundle)
    spread = session.tasks[:: max(1, tasks // 40)]
    return {
        "tasks": tasks,
        "packs": "single" if single else "separate",
        "manifest_bytes": (bundle / MANIFEST).stat().st_size,
        "read_manifest_ms": each(lambda _: Manifest.read(bundle), names),
        "open_ms": each(lambda _: Session.open(bundle), names),
        "verify_ms_per_task": each(lambda _: verify(bundle), names[:3]) / tasks,
        "switch_ms": each(session.switch, spread),
        "add_ms": each(lambda at: add_task(bundle, str(added[at]), names[at]), range(len(names))),
        "remove_ms": each(lambda name: remove_task(bundle, name), names),
    }


def exported(work: Path, tasks: int, single: bool) -> list[Path]:
    """Write a bundle, and adapters that it has not; return their directories."""
    torch.manual_seed(0)
    base, bundle = work / "base", work / f"{tasks}-{single}"
    model = LlamaForCausalLM(TINY).eval()
    model.save_pretrained(base)
    found = random_adapters(model, str(base), "self_attn", tasks + CALLS, rank=4).adapters
    added = [work / f"{tasks}-{single}-added{number}" for number in range(CALLS)]
    for adapter, directory in zip(found[tasks:], added, strict=True):
        write_adapter(directory, adapter.factors, str(base))
    coded = code_verbatim(hydraopt(AdapterSet(found[:tasks])))
    settings = ExportSettings("none")
    export_bundle(coded, str(base), bundle, settings, single_pack=single, check=False)
    return [bundle, *added]


def each(call: Callable, arguments: Iterable) -> float:
    """Least milliseconds of the processor for a call with one of the arguments."""
    times = []
    for argument in arguments:
        start = time.process_time()
        call(argument)
        times.append(1e3 * (time.process_time() - start))
    return min(times)


def main(
    tasks: Annotated[str, typer.Option(help="Numbers of tasks.")] = TASKS,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
) -> None:
    """Measure bundles with a file for each pack, and with one for all."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    records = []
    with tempfile.TemporaryDirectory() as work:
        for count in map(int, tasks.split(",")):
            for single in (False, True):
                records.append(measured(Path(work), count, single))
                print(records[-1], flush=True)
    if output:
        output.write_bytes(json_bytes(records))


if __name__ == "__main__":
    typer.run(main)
