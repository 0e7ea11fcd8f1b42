"""Terminals that lack something, and hubs that do not answer."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Thread
from unittest import mock

from .case import Case
from .command import Done, run_apart, run_here

INFO = ("info", "bundle")
NO_INFO = ("info", "né\udcff")


def terminals() -> Iterator[Case]:
    """Standard streams of every kind, in a process of their own."""
    for name, variables in {
        "ASCII": {"PYTHONIOENCODING": "ascii"},
        "the locale C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        "Latin-1": {"PYTHONIOENCODING": "latin-1"},
        "one column": {"COLUMNS": "1"},
        "no columns": {"COLUMNS": "0"},
        "a terminal that is none": {"TERM": "dumb", "NO_COLOR": "1"},
        "no home": {"HOME": "/nowhere"},
    }.items():
        run = partial(run_apart, environment=variables)
        yield Case(f"{name}, fine", INFO, run=run, may_pass=True)
        yield Case(f"{name}, wrong", NO_INFO, "no adapter, merged", run=run)
    for name, run in {
        "closed output": _closed(1),
        "closed input": _closed(0),
        "full output": _into("/dev/full"),
        "output that nobody reads": _unread,
    }.items():
        yield Case(f"{name}, fine", INFO, run=run, may_pass=True)
        yield Case(f"{name}, wrong", NO_INFO, "no adapter, merged", run=run)
    yield Case("closed errors", NO_INFO, run=_closed_errors)


def _closed(number: int) -> Callable[[tuple[str, ...]], Done]:
    return partial(run_apart, preexec_fn=partial(os.close, number))


def _closed_errors(arguments: tuple[str, ...]) -> Done:
    done = run_apart(arguments, preexec_fn=partial(os.close, 2))
    told = "error: told nobody\n" if done.code == 1 and not done.stdout + done.stderr else "lost"
    return Done(done.code, done.stdout, told)


def _into(path: str) -> Callable[[tuple[str, ...]], Done]:
    def run(arguments: tuple[str, ...]) -> Done:
        with open(path, "wb") as stream:
            return run_apart(arguments, stdout=stream)

    return run


def _unread(arguments: tuple[str, ...]) -> Done:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run_apart(arguments, stdout=writing)
        silent = done.code != 0 and not done.stderr  # as pipelines end that nobody reads
        return Done(0, "", "") if silent else done
    finally:
        os.close(writing)


def hubs() -> Iterator[Case]:
    """Ids of a hub that refuses, that says nothing, that hangs up, or that has no such thing."""
    for name, hub in {"refuses": _refuses, "says nothing": _silent, "hangs up": _hangs_up}.items():
        run = partial(_with_hub, hub)
        for command in (
            ("info", "alpha"),
            ("compress", "some/adapter", "-o", "out"),
            ("add", "bundle", "some/adapter", "--task", "later"),
            ("train", "sparse", "--base", "some/base", "--data", "data.jsonl", "-o", "out"),
        ):
            fine = command[0] == "info"
            says = "" if fine else "cannot load base" if command[0] == "train" else "in reach"
            yield Case(f"{name}: {command[0]}", command, says, run=run, may_pass=fine)
    for name in ("some/adapter", "a" * 300 + "/b", "a--b/c..d", "x/-", "ä/ö"):
        command = ("compress", name, "-o", "out")
        says = "hub repository|PEFT directory|File name too long"
        yield Case(f"offline: {name[:20]}", command, says)


def _with_hub(hub: Callable, arguments: tuple[str, ...]) -> Done:
    from huggingface_hub import constants

    with hub() as port:
        endpoint = f"http://127.0.0.1:{port}"
        with (
            mock.patch.multiple(constants, HF_HUB_OFFLINE=False, ENDPOINT=endpoint),
            mock.patch("hydraopt.hub.SECONDS", 1.0),
        ):
            return run_here(arguments)


@contextmanager
def _refuses() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        yield taken.getsockname()[1]


@contextmanager
def _silent() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def _hangs_up() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    server.accept()[0].close()

        Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
