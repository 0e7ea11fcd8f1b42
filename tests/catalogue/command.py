"""Commands as a terminal sees them: exit code and both streams, in this process or in a new one."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from unittest import mock

SECONDS = 120  # after which a command hangs, on however busy a machine
ENTRY = "from hydraopt.cli import main; main()"


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str
    hung: bool = False


class HungError(BaseException):
    """No command may catch it."""


def run_here(arguments: tuple[str, ...]) -> Done:
    """The entry point in this process, with file descriptors 1 and 2 of its own."""
    from hydraopt.cli import main

    code, hung = 0, False
    with captured() as streams, time_limit():
        with mock.patch.object(sys, "argv", ["hydraopt", *arguments]):
            try:
                main()
            except SystemExit as stop:
                code = stop.code or 0
            except HungError:
                hung = True
    return Done(code, *streams, hung)


def run_apart(
    arguments: tuple[str, ...], environment: Mapping[str, str] | None = None, **streams: object
) -> Done:
    """The entry point in a new process, with other variables or streams."""
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", ENTRY, *arguments]
    variables = {**os.environ, **(environment or {})}
    try:
        done = subprocess.run(
            command, **(given | streams), env=variables, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Done(1, "", "", hung=True)
    out, err = ((x or b"").decode(errors="backslashreplace") for x in (done.stdout, done.stderr))
    return Done(done.returncode, out, err)


@contextmanager
def captured() -> Iterator[list[str]]:
    """Whatever is written to standard output and error, compiled code's too, at the end."""
    texts: list[str] = []
    kept = [os.dup(number) for number in (1, 2)]
    files = [tempfile.TemporaryFile() for _ in kept]  # noqa: SIM115  closed below
    for number, file in enumerate(files, 1):
        os.dup2(file.fileno(), number)
    streams = [open(number, "w", closefd=False, encoding="utf-8") for number in (1, 2)]  # noqa: SIM115
    try:
        with mock.patch.multiple(sys, stdout=streams[0], stderr=streams[1]):
            yield texts
    finally:
        for number, (stream, file, old) in enumerate(zip(streams, files, kept, strict=True), 1):
            with suppress(ValueError, OSError):
                stream.flush()
            os.dup2(old, number)
            os.close(old)
            file.seek(0)
            texts.append(file.read().decode(errors="backslashreplace"))
            file.close()


@contextmanager
def time_limit(seconds: float = SECONDS, error: type[BaseException] = HungError) -> Iterator[None]:
    """Raise ``error`` in a block that takes longer."""

    def stop(*_: object) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
