"""What the cases are about: small real adapters and everything that is made of them."""

import json
import shutil
from pathlib import Path

from conftest import FLOAT32, save_adapter, tiny_llama

from hydraopt.adapters import read_adapters
from hydraopt.compression import compress
from hydraopt.lowering.bundle import export_bundle
from hydraopt.merging import merge_with
from hydraopt.stored import MergedAdapters
from hydraopt.zoo.model import new_tokenizer

from .command import run_here

TASKS = ("alpha", "beta")
RESULTS = {
    "format_version": 3,
    "status": "complete",
    "lost": "",
    "timing_valid": True,
    "device": {"model": "m", "abi": "x86_64", "device_type": "host"},
    "settings": {"prompt": 8, "threads": [1]},
    "sizes": {"bundle": {"packs": 30, "total": 1000}},
    "measurements": [
        {
            "variant": "bundle",
            "metric": "swap_ms",
            "threads": 1,
            "median": 2.0,
            "round_medians": [1.9, 2.0, 2.1],
        }
    ],
}


def build(world: Path, bundle: Path | None = None) -> Path:
    """Write it all; ``bundle`` is copied if there is one, as lowering takes a while."""
    world.mkdir(parents=True)
    for seed, name in enumerate((*TASKS, "gamma")):
        save_adapter(world / name, seed)
        (world / name / "README.md").unlink(missing_ok=True)
    tiny_llama().save_pretrained(world / "base")
    new_tokenizer().save_pretrained(world / "base")
    lines = [{"task": task, "prompt": "one", "answer": "x"} for task in TASKS]
    (world / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (world / "results").mkdir()
    (world / "results" / "results.json").write_text(json.dumps(RESULTS))
    adapters = read_adapters([world / task for task in TASKS])
    merge_with("hydraopt", adapters, rank=4).save(world / "merged")
    compress(adapters, "30%").save(world / "coded")
    if bundle is None:
        export_bundle(
            MergedAdapters.load(world / "merged"), str(world / "base"), world / "bundle", FLOAT32
        )
    else:
        shutil.copytree(bundle, world / "bundle")
    _train(world)
    return world


def _train(world: Path) -> None:
    given = ("--base", world / "base", "--data", world / "data.jsonl", "--steps", 1)
    for kind, options in (("sparse", ()), ("hydralora", ("--experts", 2))):
        arguments = ("train", kind, *given, *options, "-o", world / kind)
        done = run_here(tuple(map(str, arguments)))
        if done.code:
            raise RuntimeError(done.stderr)
