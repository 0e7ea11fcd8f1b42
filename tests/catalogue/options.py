"""Wrong values of numbers and texts, for all options that the commands have."""

import inspect
from collections.abc import Iterator
from typing import get_args

import typer.main

from hydraopt.cli.app import app

from .case import Case

ADAPTERS = ("alpha", "beta", "-o", "out")
TRAIN = ("--base", "base", "--data", "data.jsonl", "-o", "out", "--steps", "1")
COMMANDS = {  # complete but for the option in question
    "compress": ("compress", *ADAPTERS),
    "merge": ("merge", *ADAPTERS, "--method", "average"),
    "info": ("info", "alpha"),
    "unmerge": ("unmerge", "merged", "--task", "alpha", "-o", "out"),
    "export": ("export", "nowhere", "--base", "base", "-o", "out"),
    "add": ("add", "bundle", "gamma", "--task", "alpha"),
    "install": ("install", "bundle", "nowhere"),
    "remove": ("remove", "bundle", "--task", "gamma"),
    "verify": ("verify", "nowhere"),
    "run": ("run", "bundle", "--task", "alpha", "--max-new-tokens", "1"),
    "evaluate": ("evaluate", "bundle", "--examples", "data.jsonl"),
    "profile": ("profile", "nowhere", "--serial", "host"),
    "compare": ("compare", "results", "results"),
    "frontier": ("frontier", "-o", "out", "nowhere", "--base", "base", "--data", "data.jsonl"),
    "demo": ("demo", "-o", "alpha"),
    "train hydralora": ("train", "hydralora", *TRAIN),
    "train sparse": ("train", "sparse", *TRAIN),
    "sparse merge": ("sparse", "merge", "sparse", "-o", "out"),
    "sparse project": ("sparse", "project", "sparse", "-o", "out"),
    "base from-gguf": ("base", "from-gguf", "nowhere", "-o", "out"),
}
NO_INTEGERS = {"400 digits": "9" * 400, "a text": "x", "a fraction": "1.5", "nothing": ""}
NO_NUMBERS = {
    "400 digits": "9" * 400,
    "a text": "x",
    "nothing": "",
    "NaN": "nan",
    "infinity": "inf",
    "less than all": "-inf",
}
NO_TEXTS = {"a megabyte": "x" * (1 << 20), "no UTF-8": "a\udcffb", "nothing": ""}


def cases() -> Iterator[Case]:
    """A value of every kind for each option."""
    for command, option, kind in options():
        values = {int: NO_INTEGERS, float: NO_NUMBERS}.get(kind, NO_TEXTS)
        for name, value in values.items():
            given = (*COMMANDS[command], option, value)
            if option == "--prompt" or command != "run":
                yield Case(f"{command} {option}: {name}", given, may_pass=values is NO_TEXTS)
            else:
                yield Case(f"{command} {option}: {name}", (*given, "--prompt", "a"))


def options() -> Iterator[tuple[str, str, type]]:
    """Command, option and type of all options that take a value."""
    for name, command in _commands(typer.main.get_command(app)):
        if name not in COMMANDS:
            continue
        types = inspect.signature(command.callback).parameters
        for parameter in command.params:
            kind = get_args(types[parameter.name].annotation)[0]
            kinds = get_args(kind) or (kind,)
            if parameter.opts[0] == "--serial":  # it would ask adb
                continue
            if parameter.opts[0].startswith("--") and bool not in kinds:
                yield name, parameter.opts[0], kinds[0]


def _commands(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, object]]:
    if hasattr(command, "commands"):
        for name, other in command.commands.items():
            yield from _commands(other, (*path, name))
    else:
        yield " ".join(path), command
