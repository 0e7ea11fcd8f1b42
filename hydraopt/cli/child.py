"""Work that may end its process, in a process of its own."""

import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

STDERR = 2
FORK = get_context("fork")  # what was imported is there: nothing to wait for


class EndedError(Exception):
    """How the process ended, in a few words."""


def in_child(work: Callable[..., dict], *arguments: Any) -> dict:
    """What ``work`` gives or raises, in a fork of this process.

    Raises:
        EndedError: the fork ended before it was done.
    """
    receiver, sender = FORK.Pipe(duplex=False)
    child = FORK.Process(target=_answer, args=(sender, work, arguments), daemon=True)
    child.start()
    sender.close()
    try:
        outcome = receiver.recv()
    except EOFError:
        child.join()
        code = child.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise EndedError(how) from None
    finally:
        child.kill()
        child.join()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _answer(sender: Connection, work: Callable[..., dict], arguments: tuple) -> None:
    # Python's messages are shown as ever, what compiled code says of its end is not
    sys.stderr = open(os.dup(STDERR), "w", errors="backslashreplace")  # noqa: SIM115 to the end
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), STDERR)
    try:
        outcome: object = work(*arguments)
    except Exception as error:
        outcome = error
    sender.send(outcome)
