"""Wrong JSON lines, base models and GGUF files."""

import json
from collections.abc import Iterator
from pathlib import Path

from .case import Case
from .changes import NO_DATA, NO_DOCUMENTS, edited, write, wrong_files

DATA = "data.jsonl"
BOTH = ("alpha", "beta", "-o", "out", "--base", "base")
COMMANDS = {
    "merge": ("merge", *BOTH, "--method", "zipit", "--data", DATA),
    "compress": ("compress", *BOTH, "--calibration", DATA),
    "train": ("train", "sparse", "--base", "base", "--data", DATA, "-o", "out", "--steps", "1"),
    "evaluate": ("evaluate", "bundle", "--examples", DATA),
}
LINE = {"task": "alpha", "prompt": "one", "answer": "x"}


def line(**changes: object) -> bytes:
    """A line of both tasks, the second one changed."""
    lines = [LINE, LINE | {"task": "beta"}, LINE | changes]
    return "\n".join(map(json.dumps, lines)).encode()


LONG = "a prompt that is too long"
NO_LINES = {
    "no prompt": line(prompt=None),
    "an empty prompt": line(prompt=""),
    "a prompt of a number": line(prompt=3),
    "a prompt of 400 digits": line(prompt=10**400),
    "a list of prompts": line(prompt=["a"]),
    "half a pair": line(prompt="\ud800"),
    LONG: line(prompt="a" * 10_000),
    "Latin-1": line() + b'\n{"prompt": "\xe9", "answer": "x", "task": "alpha"}',
    "broken": line() + b"\n{",
    "nested without end": line() + b"\n" + b"[" * 100_000,
    "a list": line() + b"\n[]",
    "a megabyte of no JSON": line() + b"\n" + b"x" * (1 << 20),
}
NO_TASKS = {
    "an unknown task": line(task="gamma"),
    "a task of a megabyte": line(task="x" * (1 << 20)),
    "a task that is none": line(task=["alpha"]),
    "a task of nothing": line(task=""),
}


def lines() -> Iterator[Case]:
    """Lines of prompts and answers."""
    whole = {
        "empty": b"",
        "lines of nothing": b"\n\n \n",
        "zeros": bytes(99),
        "UTF-16": b"\xff\xfea",
    }
    for name, command in COMMANDS.items():
        for kind, change in wrong_files(DATA, whole).items():
            yield Case(f"{kind}, {name}", command, DATA, change)
        for kind, content in NO_LINES.items():
            says = (
                "expected at most 32"
                if kind == LONG
                else "line [34]"
                if kind != "Latin-1"
                else DATA
            )
            yield Case(f"{kind}, {name}", command, says, write(DATA, content))
        if name != "train":
            for kind, content in NO_TASKS.items():
                fine = kind == "a task of nothing" and name == "compress"
                yield Case(f"{kind}, {name}", command, "", write(DATA, content), may_pass=fine)
    one = json.dumps(LINE).encode()
    yield Case("lines of one task", COMMANDS["merge"], "'beta'", write(DATA, one))
    odd = line(prompt="a\u2028b\u2029c\x85d")
    yield Case("separators of lines in a text", COMMANDS["train"], "", write(DATA, odd), True)
    yield Case("carriage returns", COMMANDS["train"], "", write(DATA, line() + b"\r\n"), True)


BASE = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def bases() -> Iterator[Case]:
    """Base models: whatever their files hold, nothing hangs and nothing is half done."""
    for name in BASE:
        for kind, change in wrong_files(f"base/{name}", NO_DOCUMENTS).items():
            yield Case(f"{name}: {kind}", COMMANDS["merge"], change=change, may_pass=True)
    weights = "base/model.safetensors"
    for kind, change in wrong_files(weights, NO_DATA).items():
        yield Case(f"model.safetensors: {kind}", COMMANDS["merge"], "base", change)
        export = ("export", "merged", "--base", "base", "-o", "out")
        yield Case(f"model.safetensors: {kind}, export", export, "base", change)
    for field, values in {
        "hidden_size": (0, -1, "x", 10**9, None),
        "num_hidden_layers": (-1, "x", None),
        "num_attention_heads": (0, 7, "x"),
        "model_type": ("nothing", 3, None, ["llama"]),
        "architectures": ("x", 3),
        "vocab_size": (0, -1, "x"),
        "max_position_embeddings": (0, "x"),
        "rope_parameters": ("x", 3, {"rope_type": "nothing"}),
    }.items():
        for value in values:
            change = edited("base/config.json", lambda c, f=field, v=value: c.update({f: v}))
            name = f"config.json: {field} {str(value)[:9]!r}"
            yield Case(name, COMMANDS["merge"], change=change, may_pass=True)


def gguf() -> Iterator[Case]:
    """GGUF files."""
    command = ("base", "from-gguf", "base/model.gguf", "-o", "out")
    head = b"GGUF" + (3).to_bytes(4, "little")
    contents = NO_DATA | {
        "a head": b"GGUF",
        "a version": head,
        "2^60 tensors": head + (1 << 60).to_bytes(8, "little") + bytes(8),
        "2^60 fields": head + bytes(8) + (1 << 60).to_bytes(8, "little"),
        "no fields": head + bytes(16),
    }

    def there(world: Path) -> None:
        (world / "base" / "model.gguf").write_bytes(head)

    for name, change in wrong_files("base/model.gguf", contents).items():

        def both(world: Path, change=change) -> None:
            there(world)
            change(world)

        yield Case(name, command, "model.gguf", both)
