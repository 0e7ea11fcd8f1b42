"""How a command line ends: whatever went wrong is one line."""

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

EXTRAS = ("executorch", "torchao", "gguf", "accelerate", "sacrebleu", "peft", "babel", "num2words")
LONGEST, END = 400, 120  # characters of a line, and of its end, which says what to do
UNEXPECTED = "this was not expected; pass -v for where it happened"


def run_command_line(command: Callable[[], object]) -> None:
    """Call it: a user's mistake is one line and exit code 1, or 2 for wrong usage.

    So is a signal, with exit code 128 + its number; and what no command expects, whose traceback
    ``-v`` shows.

    Args:
        command: does the work; of a Typer application, with ``standalone_mode=False``. An int that
            it gives is the exit code.
    """
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # terminals that lack a character
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
    """Put nothing in the place of closed standard streams, before a file of ours takes it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 to the very end


def _exit_code(command: Callable[[], object]) -> int:
    """Call it; what it gives is gone, finalised too, when this returns."""
    result = command()
    return result if isinstance(result, int) else 0


def fail(error: object, code: int = 1) -> None:
    """Print one line and exit."""
    flags = ", ".join(map(_flag, getattr(error, "options", ())))
    text = f"{error} ({flags})" if flags else str(error)
    line = visible(" ".join(text.split()))
    if len(line) > LONGEST:
        line = f"{line[: LONGEST - END]} … {line[-END:]}"
    with suppress(OSError, ValueError):  # a closed standard error takes nothing
        print("error:", line, file=sys.stderr, flush=True)
    sys.exit(code)


def _flag(option: str) -> str:
    """What the command line calls a parameter: ``max_length`` is ``--max-length``."""
    name, _, value = option.partition("=")
    return " ".join(["--" + name.replace("_", "-"), *filter(None, [value])])


def _fail_of_usage(error: TyperException) -> None:
    message = getattr(error, "format_message", error.__str__)()
    if not message:  # without arguments the help was shown
        sys.exit(2)
    context = getattr(error, "ctx", None)
    step = f"; run {context.command_path} --help" if context else ""
    fail(message.rstrip(".") + step, code=2)


def _fail_unexpectedly(error: Exception) -> None:
    if logging.getLogger("hydraopt").isEnabledFor(logging.INFO):
        traceback.print_exception(error)
    fail(f"{type(error).__name__}: {error}; {UNEXPECTED}")
