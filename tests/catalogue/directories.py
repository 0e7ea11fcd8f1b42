"""Wrong merged directories, sparse and HydraLoRA adapters."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sealed_files import reseal

from .case import Case, Change
from .changes import (
    NO_DATA,
    NO_DOCUMENTS,
    cut,
    edited,
    flip,
    longer,
    sealed_fields,
    wrong_files,
)

VALUES = (None, True, -1, 10**30, 0.5, "x", [], {}, [[]], ["x"], {"x": 1}, "x" * (1 << 20))
DIRECTORIES = {
    "merged": ("adapters.json", "merged.safetensors"),
    "sparse": ("sparse.json", "sparse.safetensors"),
    "hydralora": ("hydralora.json", "hydralora.safetensors"),
}
FIELDS = {
    "merged": (
        *("method", "settings", "base_model", "task_type", "tasks", "modules"),
        *("adapter_bytes", "stored_bytes", "errors", "packs"),
    ),
    "sparse": ("base_model", "tasks", "settings", "shapes"),
    "hydralora": ("base_model", "modules", "experts", "rank", "alpha", "dropout"),
}


def cases() -> Iterator[Case]:
    """All of them."""
    for directory, (description, tensors) in DIRECTORIES.items():
        info = ("info", directory)
        for name, change in wrong_files(f"{directory}/{description}", NO_DOCUMENTS).items():
            yield Case(f"{description}: {name}", info, change=change)
        for name, change in wrong_files(f"{directory}/{tensors}", NO_DATA).items():
            yield Case(f"{tensors}: {name}", info, tensors, change)
        for change in (cut, flip):
            yield Case(f"{tensors}: {change.__name__}", info, tensors, change(_of(tensors), 9))
        yield Case(f"{tensors}: longer", info, tensors, longer(_of(tensors)))
        for field in FIELDS[directory]:
            for value in VALUES:
                yield Case(
                    f"{description} {field} {str(value)[:10]!r}",
                    info,
                    change=sealed_fields(f"{directory}/{description}", **{field: value}),
                    may_pass=True,
                )
    for name, edit in NO_FACTORS.items():
        yield Case(f"factors: {name}", ("info", "merged"), "merged.safetensors", factors(edit))
        export = ("export", "merged", "--base", "base", "-o", "out")
        yield Case(f"factors: {name}, exported", export, "merged.safetensors", factors(edit))


def _of(tensors: str) -> str:
    return f"{tensors.partition('.')[0]}/{tensors}"


def factors(edit: Callable[[dict, str], object]) -> Change:
    """Change merged tensors; the digest fits again. ``edit`` gets them and an A's name."""

    def change(world: Path) -> None:
        path = world / "merged" / "merged.safetensors"
        found = load_file(path)
        edit(found, min(name for name in found if name.endswith(".A")))
        save_file(found, path)
        reseal(path.with_name("adapters.json"))

    return change


NO_FACTORS: dict[str, Callable[[dict, str], object]] = {
    "another rank": lambda t, k: t.update({k: t[k][:, :-1].contiguous()}),
    "no rank": lambda t, k: t.update({k: t[k][:, :0].contiguous()}),
    "no factors": lambda t, k: t.update({k: t[k][:0].contiguous()}),
    "NaN": lambda t, k: t.update({k: t[k] * float("nan")}),
    "float32": lambda t, k: t.update({k: t[k].float()}),
    "complex": lambda t, k: t.update({k: t[k].to(torch.complex64)}),
    "two dimensions": lambda t, k: t.update({k: t[k][0].clone()}),
    "missing": lambda t, k: t.pop(k),
    "more tasks than there are": lambda t, k: t.update({k: torch.cat([t[k]] * 3)}),
    "an index outside": lambda t, k: t.update({f"{k}.of": torch.tensor([0, 99]).short()}),
    "an index below 0": lambda t, k: t.update({f"{k}.of": torch.tensor([0, -1]).short()}),
    "weights of NaN": lambda t, k: t.update({f"{k}.of": torch.full((2, 9), torch.nan).half()}),
    "an index of three": lambda t, k: t.update({f"{k}.of": torch.tensor([0, 0, 0]).short()}),
}


def first(description: dict) -> dict:
    """The first module of a layout."""
    return next(iter(description["modules"].values()))


def every(key: str, value: object) -> Callable[[dict], object]:
    """Give a field of all modules another value."""
    return lambda layout: [module.update({key: value}) for module in layout["modules"].values()]


NO_LAYOUTS: dict[str, Callable[[dict], object]] = {
    "10^7 directions": every("directions", [[10**7, [4, 1], [2, 0]]]),
    "10^9 directions in runs": lambda layout: first(layout).update(
        directions=[[65536, [4, 1], [2, 0]]] * 20_000
    ),
    "4 million directions": every("directions", [[65536, [4, 1], [2, 0]]] * 60),
    "no directions": every("directions", []),
    "-1 directions": every("directions", [[-1, [4, 1], [2, 0]]]),
    "half a direction": every("directions", [[0.5, [4, 1], [2, 0]]]),
    "3 bits": every("directions", [[1, [3, 1], [2, 0]]]),
    "400 digits of bits": every("directions", [[1, [10**400, 1], [2, 0]]]),
    "shared twice": every("directions", [[1, [4, 2], [2, 0]]]),
    "private rows first": every("directions", [[1, [4, 0], [2, 0]], [1, [4, 1], [2, 0]]]),
    "a direction of one": every("directions", [[1, [4, 1]]]),
    "a text": every("directions", "x"),
    "no shape": every("shape", []),
    "an empty shape": every("shape", [0, 0]),
    "a shape of 10^12": every("shape", [1000000, 16777216]),
    "a shape of three": every("shape", [1, 1, 1]),
    "largest steps of 0": every("largest_steps", [0, 0]),
    "one largest step": every("largest_steps", [1]),
    "largest steps of 400 digits": every("largest_steps", [10**400, 1]),
    "a field more": every("other", 1),
    "no modules": lambda layout: layout.update(modules={}),
    "a list of modules": lambda layout: layout.update(modules=[]),
    "another codec": lambda layout: layout.update(codec="trellis-9"),
    "a newer version": lambda layout: layout.update(format_version=99),
    "an older version": lambda layout: layout.update(format_version=1),
    "another base": lambda layout: layout.update(base_model=3),
    "a module of a megabyte": lambda layout: layout["modules"].update(
        {"x" * (1 << 20): first(layout)}
    ),
    "one module less": lambda layout: layout["modules"].popitem(),
}


ABSENT = ("missing", "a link to nothing")  # a bundle runs without its layout


def layouts() -> Iterator[Case]:
    """``layout.json``, damaged, and with records that fit again."""
    for directory, command in (("coded", ("info", "coded")), ("bundle", ("verify", "bundle"))):
        path = f"{directory}/layout.json"
        for name, change in wrong_files(path, NO_DOCUMENTS).items():
            if directory == "coded" or name not in ABSENT:
                yield Case(f"{directory}: {name}", command, change=change)
        for name, edit in NO_LAYOUTS.items():
            yield Case(f"{directory}: {name}", command, change=edited(path, edit))
