"""Terminals that lack something, outputs that are not ours, and hubs that do not answer."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from unittest import mock

from hydraopt.files import LIST

from .case import Case, Change
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


def outputs() -> Iterator[Case]:
    """Outputs that hold what we did not write, and a bundle whose packs lie elsewhere."""
    overwrite = ("merge", "alpha", "beta", "--method", "average", "-o", "merged", "--overwrite")
    for name, change in {
        "a photo": lambda out: (out / "photo.png").write_bytes(b"x"),
        "an edited card": lambda out: (out / "README.md").write_text("mine"),
        "a link": lambda out: (out / "link").symlink_to("/"),
        "an empty directory": lambda out: (out / "photos").mkdir(),
        "a repository": lambda out: (out / ".git").mkdir(),
        "no list": lambda out: (out / LIST).unlink(),
        "a list that is a pipe": lambda out: ((out / LIST).unlink(), os.mkfifo(out / LIST)),
        "a list that was edited": lambda out: (out / LIST).write_text("{}"),
    }.items():
        yield Case(name, overwrite, "is not overwritten", _in("merged", change))
    bundle = (*overwrite[:-2], "bundle", overwrite[-1])
    yield Case("another kind", bundle, "is a bundle, expected a set of adapters")
    add = ("add", "bundle", "alpha", "--task", "later")
    yield Case("packs elsewhere", add, "is a link or not a directory", _in("bundle", _elsewhere))


def _in(directory: str, change: Callable[[Path], object]) -> Change:
    return lambda world: change(world / directory)


def _elsewhere(bundle: Path) -> None:
    (bundle / "packs").rename(bundle.parent / "home")
    (bundle / "packs").symlink_to("../home")


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
            says = "" if fine else "cannot load base" if command[0] == "train" else "reachable"
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
