"""The command line in this process, for tests: its exit code and what it prints."""

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from hydraopt.cli import main
from hydraopt.cli.ending import UNEXPECTED
from hydraopt.files import LIST


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str


def hydraopt(*arguments) -> Done:
    """The entry point in this process; what it does not expect fails the test."""
    return call(main, *arguments)


def call(entry, *arguments) -> Done:
    """A command line in this process, by the function that reads it."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.object(sys, "argv", ["hydraopt", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            entry()
        except SystemExit as stop:
            code = stop.code or 0
    assert UNEXPECTED not in err.getvalue(), err.getvalue()
    return Done(code, out.getvalue(), err.getvalue())


def succeeds(*arguments) -> str:
    done = hydraopt(*arguments)
    assert done.code == 0, done.stderr
    return done.stdout


def fails(*arguments, code: int = 1) -> str:
    """What a user's mistake prints: nothing on stdout."""
    done = hydraopt(*arguments)
    assert done.code == code, done.stderr
    assert done.stdout == ""
    return done.stderr


def names(directory: Path) -> set[str]:
    """Names in a directory, but for the list of them that outputs have."""
    return {path.name for path in directory.iterdir()} - {LIST}
