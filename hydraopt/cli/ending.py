"""Run the command line: every error becomes one line and an exit code."""

import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

from typer.exceptions import TyperException

from ..errors import HydraOptError, UsageError
from ..shown import visible
from .interrupts import ending_on_signals

EXTRAS = (
    *("executorch", "torchao", "gguf", "accelerate", "sacrebleu", "peft", "babel", "num2words"),
    "cryptography",
)
LONGEST, END = 400, 120  # characters of a line, and of its end, which has the next step
UNEXPECTED = "unexpected error; pass -v for the traceback"


def run_command_line(command: Callable[[], object]) -> None:
    """Run ``command`` and exit the process.

    Errors print one line on standard error. The exit code is 1 for a failure, 2 for wrong usage
    and 128 + N for signal N; ``-v`` adds the traceback of an unexpected exception.

    Args:
        command: the work, such as a Typer application with ``standalone_mode=False``. If it
            returns an int, that is the exit code.
    """
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # for terminals without Unicode
    try:
        with ending_on_signals():
            code = _exit_code(command)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in EXTRAS:
            fail(f"{error.name} is not installed; run pip install 'hydraopt[all]'")
        _fail_unexpectedly(error)
    except UsageError as error:
        fail(error, code=2)
    except HydraOptError as error:
        fail(error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}; check the path and the space on its disk")
    except TyperException as error:
        _fail_of_usage(error)
    except Exception as error:
        _fail_unexpectedly(error)
    sys.exit(code)


def _open_closed_streams() -> None:
    """Open closed standard streams on the null device, so that no other file gets their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 open until exit


def _exit_code(command: Callable[[], object]) -> int:
    """Call ``command`` and free its result, finalizers included; return the exit code."""
    result = command()
    return result if isinstance(result, int) else 0


def error_line(error: object) -> str:
    """Return the line that says what is wrong, with the flags that it is about."""
    flags = ", ".join(map(_flag, getattr(error, "options", ())))
    text = f"{error} ({flags})" if flags else str(error)
    line = visible(" ".join(text.split()))
    if len(line) > LONGEST:
        line = f"{line[: LONGEST - END]} … {line[-END:]}"
    return f"error: {line}"


def fail(error: object, code: int = 1) -> None:
    """Print one line and exit."""
    with suppress(OSError, ValueError):  # standard error may be closed
        print(error_line(error), file=sys.stderr, flush=True)
    sys.exit(code)


def _flag(option: str) -> str:
    """Return a parameter's flag: ``max_length`` is ``--max-length``."""
    name, _, value = option.partition("=")
    return " ".join(["--" + name.replace("_", "-"), *filter(None, [value])])


def _fail_of_usage(error: TyperException) -> None:
    message = getattr(error, "format_message", error.__str__)()
    message = message.replace(": Value error, ", ": ")  # how pydantic begins what Typer says
    if not message:  # no arguments: the help was printed
        sys.exit(2)
    context = getattr(error, "ctx", None)
    step = f"; run {context.command_path} --help" if context else ""
    fail(message.rstrip(".") + step, code=2)


def _fail_unexpectedly(error: Exception) -> None:
    if logging.getLogger("hydraopt").isEnabledFor(logging.INFO):
        traceback.print_exception(error)
    fail(f"{type(error).__name__}: {error}; {UNEXPECTED}")
