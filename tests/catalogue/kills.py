"""SIGKILL at random moments of every command that writes: the old output or the new one is whole.

A process per kill would import torch each time. Everything is imported once, here; a command runs
in a fork, which is killed at a random moment of the time that the command takes.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from .case import content
from .command import run_here

TRAIN = ("train", "sparse", "--base", "../world/base", "--data", "../world/data.jsonl")
ADAPTERS = ("../world/alpha", "../world/beta", "-o", "out", "--overwrite")
NOT_COMPARED = (".png", ".pte")  # a plot; a program, whose bytes no two lowerings have in common
RANDOM = ("manifest.json", "merged.json")  # hold the hashes of such files


@dataclass(frozen=True)
class Writer:
    """A command, and what it is run on.

    Attributes:
        command: arguments; ``../world`` is the world.
        before: what the output is before, of the world, as ``out``; it is what may be lost.
    """

    command: tuple[str, ...]
    before: str


WRITERS: Mapping[str, Writer] = {
    "merge": Writer(("merge", *ADAPTERS, "--method", "average"), "merged"),
    "compress": Writer(("compress", *ADAPTERS, "--budget", "20%"), "coded"),
    "add": Writer(("add", "out", "../world/gamma", "--task", "later"), "bundle"),
    "remove": Writer(("remove", "out", "--task", "alpha"), "bundle"),
    "train": Writer((*TRAIN, "-o", "out", "--overwrite", "--steps", "3"), "sparse"),
    "export": Writer(
        ("export", "../world/merged", "--base", "../world/base", "-o", "out", "--overwrite"),
        "bundle",
    ),
}


@dataclass(frozen=True)
class Killed:
    """What became of a command's kills: how many left the old output, and how many the new one."""

    tried: int
    old: int
    new: int
    lost: tuple[str, ...]


def kill(name: str, count: int, world: Path, seed: int = 0) -> Killed:
    """Kill a command ``count`` times.

    After each kill ``out`` must be whole, as it was or as the command makes it; the next run of
    the command must succeed and leave ``out`` alone.
    """
    writer, chance = WRITERS[name], random.Random(seed)
    work = world.with_name("work")
    _start(work, world, writer)
    old = _state(work)
    seconds = (
        [_undisturbed(work, writer) for _ in range(2)][-1]
        if name not in ("add", "remove")
        else _undisturbed(work, writer)
    )
    new, last = _state(work), _names(work)
    found, lost = {"old": 0, "new": 0}, []
    for number in range(count):
        _start(work, world, writer)
        _killed(work, writer, chance.uniform(0, 1.1 * seconds))
        state = _state(work)
        if state not in (old, new):
            lost.append(f"kill {number}: {state} is neither old nor new")
            continue
        found["old" if state == old else "new"] += 1
        if state == old or name not in ("add", "remove"):
            _undisturbed(work, writer)
        if _state(work) != new or (state == old and _names(work) != last):
            lost.append(f"kill {number}: {_names(work) ^ last} after the next run")
    shutil.rmtree(work, ignore_errors=True)
    return Killed(count, found["old"], found["new"], tuple(lost))


def _start(work: Path, world: Path, writer: Writer) -> None:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    shutil.copytree(world / writer.before, work / "out")


def _names(work: Path) -> set[str]:
    """All that lies there, but for what a training keeps to be resumed."""
    return {name for name, _ in content(work) if not name.endswith(".checkpoint")}


def _state(work: Path) -> tuple:
    """What ``out`` holds; raises if it is not whole."""
    from hydraopt.cli.records import describe

    record = describe(work / "out")
    files = dict(content(work / "out"))
    same = [
        (name, digest)
        for name, digest in files.items()
        if not name.endswith(NOT_COMPARED)
        and name not in RANDOM
        and not name.startswith(".")
        and "/." not in name
    ]
    listed = [x for x in same if not x[0].startswith("packs/")]
    return repr(sorted(record.items())), tuple(listed)


def _undisturbed(work: Path, writer: Writer) -> float:
    """Run the command in a fork to its end; seconds that it took."""
    start = time.perf_counter()
    pid = _fork(work, writer)
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"{writer.command} ended with {status}")
    return time.perf_counter() - start


def _killed(work: Path, writer: Writer, seconds: float) -> None:
    pid = _fork(work, writer)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _fork(work: Path, writer: Writer) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        with chdir(work):
            done = run_here(writer.command)
        code = 0 if done.code == 0 else 71
        if code:
            os.write(2, done.stderr.encode())
    finally:
        os._exit(code)


def all_kills(names: list[str], count: int, world: Path) -> Iterator[tuple[str, Killed]]:
    """Kill each command so often."""
    for name in names:
        yield name, kill(name, count, world)


__all__ = ["WRITERS", "Callable", "Killed", "all_kills", "kill"]
