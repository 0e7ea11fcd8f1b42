"""SIGKILL at random moments of every command that writes: the old output or the new one is whole.

What users keep beside it is there afterwards, and what they keep in a bundle that changes.

A process per kill would import torch each time. Here everything is imported once; a command runs
in a fork, which is killed at a random moment of the time that the command takes.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from user_files import BESIDE, NAMES, lost, scatter

from hydraopt.cli.records import describe
from hydraopt.files import LIST
from hydraopt.formats.manifest import MANIFEST, Manifest

from .case import content
from .command import run_here

ADAPTERS = ("{world}/alpha", "{world}/beta", "-o", "out", "--overwrite")
ON_BASE = ("--base", "{world}/base", "-o", "out", "--overwrite")
NOT_COMPARED = (  # no two lowerings have one program, and what holds a hash of it differs, too
    *(".pte", ".png", MANIFEST, LIST, "adapters.json"),
)


@dataclass(frozen=True)
class Writer:
    """A command, and what it is run on.

    Attributes:
        command: arguments; ``{world}`` is where the world is.
        before: what of the world is there as ``out`` before it: what may be lost.
        after: what is run after a kill that came too late, if the command itself cannot be.
        grows: whether it leaves what is not ours in ``out``.
    """

    command: tuple[str, ...]
    before: str
    after: tuple[str, ...] = ()
    grows: bool = False


LATER = ("add", "out", "{world}/alpha", "--task")
WRITERS: Mapping[str, Writer] = {
    "merge": Writer(("merge", *ADAPTERS, "--method", "average"), "merged"),
    "compress": Writer(("compress", *ADAPTERS, "--budget", "20%"), "coded"),
    "add": Writer((*LATER, "later"), "bundle", (*LATER, "last"), grows=True),
    "remove": Writer(("remove", "out", "--task", "alpha"), "bundle", (*LATER, "last"), grows=True),
    "train": Writer(
        ("train", "sparse", *ON_BASE, "--data", "{world}/data.jsonl", "--steps", "3"), "sparse"
    ),
    "export": Writer(("export", "{world}/merged", *ON_BASE), "bundle"),
}


@dataclass(frozen=True)
class Killed:
    """What became of kills: how many left the old output and how many the new one, and losses."""

    tried: int
    old: int
    new: int
    lost: tuple[str, ...]


def kill(name: str, count: int, world: Path, seed: int = 0) -> Killed:
    """Kill a command ``count`` times.

    After each kill ``out`` must be whole, as it was or as the command makes it; the next run must
    succeed and leave nothing beside it.
    """
    writer, chance = WRITERS[name], random.Random(seed)
    work = world.with_name(f"{world.name}-killed")
    trial = _Trial(writer, world, work)
    found: dict[str, int] = {"old": 0, "new": 0}
    lost = []
    for number in range(count):
        try:
            found[trial.killed_after(chance.uniform(0, 1.1 * trial.seconds))] += 1
        except Exception as error:  # whatever reading a half output raises is what is looked for
            lost.append(f"kill {number}: {type(error).__name__}: {error}")
    shutil.rmtree(work, ignore_errors=True)
    return Killed(count, found["old"], found["new"], tuple(lost))


class _Trial:
    """One command's outputs before and after, and how long it takes."""

    def __init__(self, writer: Writer, world: Path, work: Path):
        self.writer, self.world, self.work = writer, world, work
        self._start()
        self.old = _state(work / "out")
        with chdir(work):  # here, so that forks find everything imported
            done = run_here(self._of(writer.command))
        if done.code:
            raise RuntimeError(done.stderr)
        self.new, self.names = _state(work / "out"), _names(work)
        self._start()
        start = time.perf_counter()
        self._run(writer.command)
        self.seconds = time.perf_counter() - start

    def killed_after(self, seconds: float) -> str:
        """Which output is there after a kill, ``old`` or ``new``."""
        self._start()
        pid = self._fork(self.writer.command)
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        state = _state(self.work / "out")
        if state not in (self.old, self.new):
            raise ValueError(f"neither old nor new: {state}")
        again = self.writer.command if state == self.old else self.writer.after
        self._run(again or self.writer.command)
        if gone := lost(self.users):
            raise ValueError(f"not ours, and lost: {gone}")
        users = {path.relative_to(self.work).as_posix() for path in self.users}
        if strays := _names(self.work) - self._owned() - users:
            raise ValueError(f"left behind after the next run: {strays}")
        return "old" if state == self.old else "new"

    def _start(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.world / self.writer.before, self.work / "out")
        chance = random.Random(0)
        self.users = scatter(chance, self.work, BESIDE, len(BESIDE))
        if self.writer.grows:
            self.users |= scatter(chance, self.work / "out", NAMES, len(NAMES))

    def _owned(self) -> set[str]:
        if not (self.work / "out" / MANIFEST).exists():
            return self.names
        listed = {MANIFEST, LIST, *Manifest.read(self.work / "out").names}
        return {f"out/{name}" for name in listed}

    def _run(self, command: tuple[str, ...]) -> None:
        """Run a command in a fork to its end."""
        _, status = os.waitpid(self._fork(command), 0)
        if status:
            raise RuntimeError(f"{command} ended with {status}")

    def _fork(self, command: tuple[str, ...]) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            with chdir(self.work):
                done = run_here(self._of(command))
            code = done.code
            if code:
                os.write(2, done.stderr.encode())
        finally:
            os._exit(code)

    def _of(self, command: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(argument.replace("{world}", str(self.world)) for argument in command)


def _names(work: Path) -> set[str]:
    """All files, but for what a training keeps to be resumed."""
    files = {name for name, _ in content(work) if not (work / name).is_dir()}
    return {name for name in files if not name.endswith(".checkpoint")}


def _state(out: Path) -> tuple[str, ...]:
    """What an output says of itself, and the hashes of its files; raises if it is not whole."""
    names = None
    if (out / MANIFEST).exists():
        manifest = Manifest.read(out)
        manifest.check_files(out)
        names = manifest.names
    record = {key: value for key, value in describe(out).items() if "program" not in key}
    record.pop("total_bytes", None)
    hashes = {
        name: digest
        for name, digest in content(out)
        if not name.endswith(NOT_COMPARED) and (names is None or name in names)
    }
    return (*map(repr, record.items()), *map(repr, hashes.items()))
