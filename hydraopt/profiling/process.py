"""Call programs of this machine."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence

from ..errors import ProfilingError


def missing_packages(programs: Mapping[str, str]) -> list[str]:
    """Return the Debian packages of the programs that are not installed."""
    return [package for program, package in programs.items() if not shutil.which(program)]


def require_programs(programs: Mapping[str, str], purpose: str) -> None:
    """Raise ``ProfilingError``, with the command that installs them, if programs are missing.

    Args:
        programs: Debian package of each program.
        purpose: user of the programs, for messages.
    """
    if packages := missing_packages(programs):
        raise ProfilingError(
            f"{purpose} needs programs that are not installed; "
            f"run: sudo apt-get install {' '.join(packages)}"
        )


def call(command: Sequence[str], purpose: str, timeout: float = 300, **options) -> str:
    """Run a command that must succeed, and return its standard output.

    Args:
        command: program and arguments.
        purpose: purpose, for messages.
        timeout: seconds.
        options: for :func:`subprocess.run`.

    Raises:
        ProfilingError: the command failed, with its error line, or timed out.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    try:
        result = subprocess.run(
            command, text=True, errors="replace", timeout=timeout, check=False, **pipes
        )
    except subprocess.TimeoutExpired:
        raise ProfilingError(f"{command[0]} did not {purpose} in {timeout:.0f} s") from None
    if result.returncode:
        raise ProfilingError(f"{command[0]} cannot {purpose}: {error_line(result)}")
    return result.stdout or ""


def error_line(result: subprocess.CompletedProcess) -> str:
    """Return a failed program's error line: ``error: …``, any line with an error, or the last."""
    lines = [line.strip() for line in (result.stderr or result.stdout or "").splitlines()]
    own = [line for line in lines if line.startswith("error: ")]
    some = [line for line in lines if "error:" in line.lower()]
    last = [line for line in lines if line][-1:]
    line = next(iter(own + some + last), f"exit code {result.returncode}")
    return line.removeprefix("error: ")
