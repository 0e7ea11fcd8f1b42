"""One wrong input, and when its answer holds."""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from hydraopt.cli.ending import UNEXPECTED

from .command import Done, run_here

LONGEST = 420  # characters of a line

Change = Callable[[Path], object]  # makes something wrong in a copy of the world


@dataclass(frozen=True)
class Case:
    """A command line in a world in which something is wrong.

    Attributes:
        name: unique in its group.
        command: arguments; paths are relative to the world.
        says: a pattern that the error's line matches: where, and what.
        change: what is wrong with the world, if it is not the command line.
        may_pass: whether nothing need be wrong: then it may end well, but never half.
        run: starts it; by default in this process.
    """

    name: str
    command: tuple[str, ...]
    says: str = ""
    change: Change | None = None
    may_pass: bool = False
    run: Callable[[tuple[str, ...]], Done] = run_here

    def problem(self, world: Path, scratch: Path) -> str:
        """What was not as promised, in a copy of ``world``; empty if it held."""
        shutil.rmtree(scratch, ignore_errors=True)
        self._copy(world, scratch)
        try:
            if self.change:
                self.change(scratch)
            before = dict(content(scratch))
            with chdir(scratch):
                done = self.run(self.command)
            found = self._problem(done)
            if not found and done.code != 0 and dict(content(scratch)) != before:
                found = f"it changed {changes(before, dict(content(scratch)))}"
            return found
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _copy(self, world: Path, scratch: Path) -> None:
        """Copy what the command names of the world; all of it takes a while."""
        scratch.mkdir()
        for path in world.iterdir():
            if any(path.name in argument for argument in self.command):
                copy = shutil.copytree if path.is_dir() else shutil.copy
                copy(path, scratch / path.name)

    def _problem(self, done: Done) -> str:
        lines = done.stderr.splitlines()
        line = lines[0] if lines else ""
        if done.code == 0 and self.may_pass and not done.hung:
            return "a traceback" if "Traceback" in done.stderr else ""
        for wrong, what in (
            (done.hung, "it hung"),
            (UNEXPECTED in done.stderr or "Traceback" in done.stderr, "a traceback"),
            (done.code == 0, "it was accepted"),
            (len(lines) != 1 or not line.startswith("error: ") or done.stdout, "no single line"),
            (len(line) > LONGEST, f"{len(line)} characters"),
            ("[Errno" in line, "a raw error number"),
            (not re.search(self.says, line), f"it does not say {self.says!r}"),
        ):
            if wrong:
                return f"{what}: {done.stderr[-300:]!r} {done.stdout[:100]!r}"
        return ""


def content(directory: Path) -> Iterator[tuple[str, str]]:
    """Path and hash of every file; of what is not a regular file, its kind."""
    for path in sorted(directory.rglob("*")):
        regular = path.is_file() and not path.is_symlink()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if regular else path.lstat().st_mode
        yield path.relative_to(directory).as_posix(), str(digest)


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Paths in which two contents differ."""
    return sorted({path for path, _ in before.items() ^ after.items()})
