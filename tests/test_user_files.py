"""Whatever users keep in and beside outputs is there afterwards, byte for byte."""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import chdir, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from catalogue.command import run_here
from catalogue.world import build
from conftest import tiny_llama
from test_gguf import write_gguf
from test_profile_results import result
from user_files import BESIDE, NAMES, edit, lost, scatter, seeds

from hydraopt.adapters import read_adapters
from hydraopt.errors import HydraOptError, OutputError
from hydraopt.evaluation.points import Benchmark
from hydraopt.evaluation.reports import write_frontier, write_merges
from hydraopt.files import locked_directory, output_directory
from hydraopt.profiling.cache import COMPLETE, cached, drop_unused
from hydraopt.profiling.page import write_report
from hydraopt.stored import MergedAdapters
from hydraopt.zoo.demo import DEMO

OURS = ("model.pte", "packs/a.pack", "packs/mine.pack", "notes.txt", "data/b/c", "old/d")
ON_BASE = ("--base", "base", "--data", "data.jsonl", "--steps", "1", "-o", "out")


@dataclass(frozen=True)
class Writer:
    """A command that writes ``out``.

    Attributes:
        command: its arguments, or a call that takes whether it may overwrite.
        before: what of the world is in the place of ``out`` before it; None: what it writes itself.
        grows: whether it changes ``out`` and leaves in it what is not ours.
        times: how often it is tried.
    """

    command: tuple[str, ...] | Callable[[bool], None]
    before: str | None = None
    grows: bool = False
    times: int = 8


def report(overwrite):
    write_report(result(), Path("out"), overwrite=overwrite)


def demo(overwrite):
    with output_directory("out", DEMO, overwrite=overwrite) as new:
        MergedAdapters.load("merged").save(new / "merged")
        shutil.copytree("bundle", new / "bundle")


def benchmark():
    pairs = (("one", "x"),)
    adapters = read_adapters(["alpha", "beta"])
    return Benchmark(adapters, "base", dict.fromkeys(adapters.tasks, pairs))


def frontier(_):
    write_frontier(Path("out"), benchmark(), ["average"], 1)
    write_merges(Path("out"), benchmark(), ["average"], [1], 0, 1)


WRITERS = {
    "compress": Writer(("compress", "alpha", "beta", "--budget", "30%", "-o", "out")),
    "merge": Writer(("merge", "alpha", "beta", "--method", "average", "-o", "out"), "merged"),
    "unmerge": Writer(("unmerge", "merged", "--task", "alpha", "-o", "out")),
    "sparse merge": Writer(("sparse", "merge", "sparse", "-o", "out"), "sparse"),
    "sparse project": Writer(("sparse", "project", "sparse", "--rank", "2", "-o", "out")),
    "train sparse": Writer(("train", "sparse", *ON_BASE), "sparse"),
    "train hydralora": Writer(("train", "hydralora", "--experts", "2", *ON_BASE), "hydralora"),
    "from-gguf": Writer(("base", "from-gguf", "tiny.gguf", "-o", "out")),
    "export": Writer(
        ("export", "merged", "--base", "base", "--quantize", "none", "--no-check", "-o", "out"),
        "bundle",
    ),
    "profile": Writer(report),
    "demo": Writer(demo),
    "add": Writer(("add", "out", "alpha", "--task", "later"), "bundle", grows=True),
    "remove": Writer(("remove", "out", "--task", "alpha"), "bundle", grows=True),
    "frontier": Writer(frontier, grows=True, times=3),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory, bundle):
    world = build(tmp_path_factory.mktemp("user") / "world", bundle)
    write_gguf(world / "tiny.gguf", tiny_llama())
    return world


def call(command, root, overwrite):
    """Whether it succeeds; what it refuses is one line."""
    with chdir(root):
        if isinstance(command, tuple):
            done = run_here((*command, *["--overwrite"] * overwrite))
            assert not done.code or done.stderr.count("\n") == 1, done.stderr
            return done.code == 0
        try:
            command(overwrite)
        except HydraOptError:
            return False
        return True


def start(world, root, writer):
    """A copy of the world in which ``out`` is ours."""
    shutil.copytree(world, root, symlinks=True)
    if writer.before:
        shutil.copytree(root / writer.before, root / "out")
    elif not (root / "out").exists():
        assert call(writer.command, root, False)
    return root / "out"


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_no_command_loses_what_is_not_ours(name, world, tmp_path):
    """Beside an output and inside of it; an output with anything of a user is not replaced."""
    writer = WRITERS[name]
    first = tmp_path / "first"
    start(world, first, writer)
    for number, chance in enumerate(seeds(writer.times)):
        root = shutil.copytree(first, tmp_path / "root", symlinks=True)
        inside = {}
        if number:
            inside = scatter(chance, root / "out", NAMES, chance.randrange(1, 12))
            if chance.random() < 0.3:
                inside |= edit(chance, root / "out")
        beside = scatter(chance, root, BESIDE, chance.randrange(len(BESIDE)))
        succeeded = call(writer.command, root, overwrite=not writer.grows)
        assert not lost(inside | beside), number
        assert succeeded or inside, number
        assert not succeeded or not inside or writer.grows, number
        shutil.rmtree(root)


def test_of_a_cache_only_what_was_built_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for number, chance in enumerate(seeds(20)):
        group = f"group{number}"
        built = [cached(f"{group}/{x}", lambda new: (new / "file").write_text("1")) for x in "ab"]
        for path in built:
            os.utime(path / COMPLETE, (time.time() - 10**6,) * 2)
        users = scatter(chance, built[0], NAMES, 3) | scatter(chance, built[0].parent, BESIDE, 9)
        drop_unused(group)
        assert not lost(users)
        assert built[0].exists() == any(built[0] in x.parents for x in users)
        assert not built[1].exists()


def random_output(chance, path):
    """An output with some names that users have, too."""
    with output_directory(path, "kind", overwrite=True) as new:
        for name in chance.sample(OURS, chance.randrange(1, 6)):
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_bytes(chance.randbytes(3))


def grow(chance, path):
    """Write and remove files in it, also such as are not ours."""
    with suppress(HydraOptError), locked_directory(path) as directory:
        contents = {name: chance.randbytes(3) for name in chance.sample((*OURS, *NAMES[:7]), 2)}
        directory.change(directory.listing(), contents, chance.sample((*OURS, *NAMES), 9))


def test_no_output_of_any_kind_loses_what_is_not_ours(tmp_path):
    """The mechanism under all commands, more often."""
    for number, chance in enumerate(seeds(50)):
        root = tmp_path / str(number)
        random_output(chance, root / "out")
        inside = scatter(chance, root / "out", NAMES, chance.randrange(8))
        if chance.random() < 0.2:
            inside |= edit(chance, root / "out")
        beside = scatter(chance, root, BESIDE, chance.randrange(len(BESIDE)))
        for _ in range(3):
            grow(chance, root / "out")
        assert not lost(inside | beside), number
        try:
            random_output(chance, root / "out")
            assert not inside, number
        except OutputError:
            assert inside, number
        assert not lost(inside | beside), number
        shutil.rmtree(root)
