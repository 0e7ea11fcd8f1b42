"""Run work that may crash its process in a child process."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

STDERR = 2
FORK = get_context("fork")  # keeps the imports, which take seconds
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class EndedError(Exception):
    """The child process ended early; the message is a signal's name or an exit code."""


def in_child(work: Callable[..., dict], *arguments: Any) -> dict:
    """Call ``work`` in a fork of this process; return its result or raise its exception.

    Raises:
        EndedError: the fork ended before ``work`` returned.
    """
    receiver, sender = FORK.Pipe(duplex=False)
    child = FORK.Process(target=_answer, args=(sender, work, arguments), daemon=True)
    try:
        child.start()
        sender.close()
        outcome = receiver.recv()
    except EOFError:
        child.join()
        code = child.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise EndedError(how) from None
    finally:
        if child.pid is not None:
            child.kill()
            child.join()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _answer(sender: Connection, work: Callable[..., dict], arguments: tuple) -> None:
    _end_with_parent()
    # Python's messages reach the user, those of crashing compiled code do not
    sys.stderr = open(os.dup(STDERR), "w", errors="backslashreplace")  # noqa: SIM115 to the end
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), STDERR)
    try:
        outcome: object = work(*arguments)
    except Exception as error:
        outcome = error
    sender.send(outcome)


def _end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, where the kernel can.

    A signal may end the parent before it knows the process that it has just forked.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
