"""Ending a command on a signal: everything tidied up, one line, exit code 128 + its number."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..files import remove_unfinished

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STDERR = 2
CLEAN_LINE = "\r\x1b[K\x1b[?25h"  # of a terminal on which progress was shown: empty, with cursor


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """End the process on SIGINT, SIGTERM or SIGHUP, however the block ends after one of them.

    The exception that a signal raises need not arrive: compiled code turns it into another one, a
    library catches it. A signal that was ignored before, as in the background, stays ignored.
    """
    received: list[signal.Signals] = []
    stream = os.dup(STDERR)  # the user's, whatever takes its place while the block runs

    def interrupt(number: int, _frame: object) -> None:
        """Remove half-written outputs, then leave by an exception, which tidies up all else."""
        if not received:
            received.append(signal.Signals(number))
            _silence()
        remove_unfinished()
        sys.exit(128 + received[0])  # unlike for KeyboardInterrupt, nobody has a message for it

    before = {number: signal.getsignal(number) for number in SIGNALS}
    heeded = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, interrupt)
    try:
        yield
    except BaseException:
        if not received:
            raise
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_IGN if received else before[number])
        if not received:
            os.close(stream)
    if received:
        clean = CLEAN_LINE if os.isatty(stream) else ""
        os.write(stream, f"{clean}error: interrupted by {received[0].name}\n".encode())
        sys.exit(128 + received[0])


def _silence() -> None:
    """Send standard error nowhere, for what fails from now on fails for the signal."""
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), STDERR)  # logs, warnings and compiled code all write there
