"""Base models of which no program can be made, each refused by its cause."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from .case import Case, Change
from .changes import edited
from .data import COMMANDS

EXPORT = ("export", "merged", "--base", "base", "-o", "out")


def cases() -> Iterator[Case]:
    """All of them."""
    for command in (COMMANDS["merge"], EXPORT):
        for name, (says, change) in UNFIT.items():
            yield Case(f"{name}, {command[0]}", command, says, change)
    for value in SHARDS:
        yield Case(f"a shard {value!r:.30}", EXPORT, "base", shards(value))


def config(**fields: object) -> Change:
    """Change the configuration of the base."""
    return edited("base/config.json", lambda found: found.update(fields))


def weights(edit: Callable[[dict], object]) -> Change:
    """Change the tensors of the base."""

    def change(world: Path) -> None:
        path = world / "base" / "model.safetensors"
        found = load_file(path)
        edit(found)
        save_file(found, path, {"format": "pt"})

    return change


def shards(value: object) -> Change:
    """An index of shards in place of the weights; one of them is ``value``."""

    def change(world: Path) -> None:
        base = world / "base"
        (base / "model.safetensors").rename(base / "one.safetensors")
        os.mkfifo(base / "pipe.txt")
        (base / "pipe.txt").rename(world / "pipe.safetensors")
        index = {"metadata": {}, "weight_map": {"lm_head.weight": value}}
        (base / "model.safetensors.index.json").write_text(json.dumps(index))

    return change


SHARDS = (
    *("../pipe.safetensors", "/dev/zero", "none.safetensors", "config.json/x", ".", "", "x" * 5000),
    *(None, 3, ["one.safetensors"], {}, "a\0b", "\ud7ff\n\x1b[31m"),
)
UNFIT: dict[str, tuple[str, Change]] = {
    "code": ("code of its own", config(model_type="x" * 9999, auto_map={"AutoConfig": "x.X"})),
    "weights of 4 bits": ("quantised weights", config(quantization_config={"bits": 4})),
    "a strange quantisation": ("quantised weights", config(quantization_config="x" * 9999)),
    "experts": ("mixture of experts|lacks", config(model_type="mixtral")),
    "an encoder-decoder": ("is an encoder-decoder", config(model_type="t5")),
    "an adapter": (
        "also holds an adapter",
        lambda world: (world / "base" / "adapter_config.json").write_text("{}"),
    ),
    "a weight less": ("lacks 1 weights", weights(lambda t: t.pop("model.norm.weight"))),
    "a prefix of 9999": (
        "not what wraps it",
        weights(lambda t: [t.update({f"{'x' * 9999}.{name}": t.pop(name)}) for name in [*t]]),
    ),
    "another shape": (
        "of shape",
        weights(lambda t: t.update({"model.norm.weight": torch.ones(3)})),
    ),
    "a bias": ("no place", weights(lambda t: t.update({"model.norm.bias": torch.ones(3)}))),
}
