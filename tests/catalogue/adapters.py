"""Wrong PEFT adapters: their configuration and their tensors."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from hydraopt.adapters.peft_config import UNSUPPORTED

from .case import Case, Change
from .changes import NO_DATA, NO_DOCUMENTS, cut, fields, flip, longer, write, wrong_files

CONFIG, WEIGHTS = "alpha/adapter_config.json", "alpha/adapter_model.safetensors"
INFO = ("info", "alpha")
WRITING = ("compress", "beta", "alpha", "-o", "out")
HUGE = 10**400
NO_RANKS = (0, -1, 1.5, "8", True, None, [], {}, HUGE, 1 << 20, 3)
NO_ALPHAS = (0, -1, "8", True, None, [], {}, HUGE, 1e30, 1e12)
NO_PATTERNS = {
    "a list": ["q_proj"],
    "a text": "q_proj",
    "a number": 3,
    "no expression": {"(": 4},
    "no expression either": {"*": 4},
    "a range backwards": {"[z-a]": 4},
    "a missing group": {r"\9": 4},
    "a look behind": {"(?<=a+)b": 4},
    "parentheses without end": {"(" * 5000 + ")" * 5000: 4},
    "rank of a text": {"q_proj": "4"},
    "rank of nothing": {"q_proj": 0},
    "rank of 400 digits": {"q_proj": HUGE},
    "rank that is another": {"q_proj": 5},
    "repeats without end": {"((a{1,9999}){1,9999}){1,9999}b": 4},
}


def configurations() -> Iterator[Case]:
    """``adapter_config.json``."""
    for name, change in wrong_files(CONFIG, NO_DOCUMENTS).items():
        for command in (INFO, WRITING):
            yield Case(f"{name}, {command[0]}", command, change=change)
    for key in UNSUPPORTED:
        yield Case(key, INFO, key, fields(CONFIG, **{key: [1]}))
    for key, values in (("r", NO_RANKS), ("lora_alpha", NO_ALPHAS)):
        for value in values:
            yield Case(f"{key} {str(value)[:12]!r}", INFO, change=fields(CONFIG, **{key: value}))
    for key in ("rank_pattern", "alpha_pattern"):
        for name, value in NO_PATTERNS.items():
            fine = key == "alpha_pattern" and name in ("rank that is another",)
            never = name.startswith("repeats")  # it may well match nothing
            yield Case(
                f"{key}: {name}",
                INFO,
                "adapter 'alpha'",
                fields(CONFIG, **{key: value}),
                may_pass=fine or never,
            )
    for key, value, says in (
        ("peft_type", "IA3", "expected 'LORA'"),
        ("peft_type", None, "expected 'LORA'"),
        ("peft_type", ["LORA"], "expected 'LORA'"),
        ("peft_type", "x" * (1 << 20), "expected 'LORA'"),
        ("bias", "all", "bias"),
        ("bias", {"a": 1}, "bias"),
        ("bias", "x" * (1 << 20), "bias"),
        ("init_lora_weights", "pissa", "init_lora_weights"),
        ("init_lora_weights", "olora" + "x" * (1 << 20), "init_lora_weights"),
        ("base_model_name_or_path", None, "base_model_name_or_path"),
        ("base_model_name_or_path", "", "base_model_name_or_path"),
        ("base_model_name_or_path", 5, "base_model_name_or_path"),
        ("base_model_name_or_path", ["a"], "base_model_name_or_path"),
        ("modules_to_save", ["lm_head"], "modules_to_save"),
        ("modules_to_save", "lm_head", "modules_to_save"),
        ("modules_to_save", {"a": 1}, "modules_to_save"),
        ("task_type", 3, "task_type"),
        ("task_type", ["CAUSAL_LM"], "task_type"),
    ):
        yield Case(f"{key} {str(value)[:12]!r}", INFO, says, fields(CONFIG, **{key: value}))
    other = fields(CONFIG, base_model_name_or_path="another/base")
    yield Case("another base", WRITING, "is for base model 'another/base'", other)
    long = fields(CONFIG, base_model_name_or_path="x" * (1 << 20))
    yield Case("a base of a megabyte", WRITING, "is for base model", long)


def tensors(edit: Callable[[dict, str], object]) -> Change:
    """Change the tensors; ``edit`` gets them and the first one's name."""

    def change(world: Path) -> None:
        found = load_file(world / WEIGHTS)
        edit(found, sorted(found)[0])
        save_file(found, world / WEIGHTS)

    return change


def header(content: bytes, length: int | None = None) -> bytes:
    """A safetensors file of one header."""
    return (len(content) if length is None else length).to_bytes(8, "little") + content


OTHER = "base_model.model.lm_head.weight"
NO_TENSORS: dict[str, Callable[[dict, str], object]] = {
    "complex": lambda t, k: t.update({k: t[k].to(torch.complex64)}),
    "integers": lambda t, k: t.update({k: t[k].to(torch.int32)}),
    "truth values": lambda t, k: t.update({k: t[k] > 0}),
    "NaN": lambda t, k: t.update({k: t[k] * float("nan")}),
    "infinity": lambda t, k: t.update({k: t[k] + float("inf")}),
    "more than fp16": lambda t, k: t.update({k: t[k] * 1e30}),
    "transposed": lambda t, k: t.update({k: t[k].T.contiguous()}),
    "one dimension": lambda t, k: t.update({k: t[k].reshape(-1)}),
    "three dimensions": lambda t, k: t.update({k: t[k][None].clone()}),
    "no dimension": lambda t, k: t.update({k: torch.tensor(1.0)}),
    "no columns": lambda t, k: t.update({k: t[k][:, :0].contiguous()}),
    "no rows": lambda t, k: t.update({k: t[k][:0].contiguous()}),
    "one side": lambda t, k: t.pop(k),
    "nothing": lambda t, k: t.clear(),
    "another name": lambda t, k: t.update({OTHER: torch.ones(2)}),
    "a name of a megabyte": lambda t, k: t.update({"x" * (1 << 20): torch.ones(2)}),
    "an embedding": lambda t, k: t.update({"a.lora_embedding_A": torch.ones(2, 2)}),
}
NO_HEADERS = {
    "longer than the file": header(b"{}", 1 << 40),
    "longest": header(b"{}", (1 << 64) - 1),
    "no JSON": header(b"xxxx"),
    "a list": header(b"[]"),
    "lists without end": header(b"[" * 100_000),
    "no tensors": header(b"{}  "),
    "offsets outside": header(b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}'),
    "offsets backwards": header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}'),
    "a shape of 400 digits": header(
        b'{"a": {"dtype": "F32", "shape": [%s], "data_offsets": [0, 4]}}' % (b"9" * 400)
    ),
    "another type": header(b'{"a": {"dtype": "Q4", "shape": [1], "data_offsets": [0, 4]}}'),
}


def weights() -> Iterator[Case]:
    """``adapter_model.safetensors``."""
    for name, change in wrong_files(WEIGHTS, NO_DATA | NO_HEADERS).items():
        for command in (INFO, WRITING):
            yield Case(f"{name}, {command[0]}", command, "adapter 'alpha'", change)
    for name, edit in NO_TENSORS.items():
        yield Case(name, WRITING, "adapter 'alpha'", tensors(edit))
    for count in (1, 100, 5000):
        yield Case(f"{count} bytes less", WRITING, "truncated", cut(WEIGHTS, count))
    yield Case("8 bytes more", WRITING, "truncated", longer(WEIGHTS))
    for position in range(8):
        yield Case(f"bit in byte {position}", WRITING, "truncated", flip(WEIGHTS, position))
    yield Case("pickled", WRITING, "convert adapter_model.bin", _pickled)


def _pickled(world: Path) -> None:
    (world / WEIGHTS).rename((world / WEIGHTS).with_suffix(".bin"))


def odd_ones() -> Iterator[Case]:
    """Adapters that are fine, or whose shapes do not fit the others'."""
    yield Case("bfloat16", INFO, change=tensors(_every(torch.bfloat16)), may_pass=True)
    yield Case("float64", INFO, change=tensors(_every(torch.float64)), may_pass=True)
    yield Case("other shapes", WRITING, "expected \\(", tensors(_wider))
    text = json.dumps({"peft_type": "LORA"})
    yield Case("hardly a configuration", INFO, "base_model", write(CONFIG, text.encode()))


def _every(dtype: torch.dtype) -> Callable[[dict, str], object]:
    return lambda t, _: t.update({name: tensor.to(dtype) for name, tensor in t.items()})


def _wider(found: dict, first: str) -> None:
    found[first] = torch.cat([found[first]] * 2, 1)
