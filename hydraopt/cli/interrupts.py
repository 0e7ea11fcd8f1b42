"""End a command on a signal: clean up, print one line, exit with 128 + its number."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..files import remove_unfinished

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STDERR = 2
CLEAN_LINE = "\r\x1b[K\x1b[?25h"  # clears a progress bar and shows the cursor


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """End the process if the block receives SIGINT, SIGTERM or SIGHUP.

    It ends even if compiled code replaces the exception that the signal raises, or a library
    catches it. Signals that were ignored before, as in the background, stay ignored.
    """
    received: list[signal.Signals] = []
    stream = os.dup(STDERR)  # the user's, even if the block redirects it

    def interrupt(number: int, _frame: object) -> None:
        """Remove unfinished outputs, then raise, so that the block cleans up the rest."""
        if not received:
            received.append(signal.Signals(number))
            _silence()
        remove_unfinished()
        sys.exit(128 + received[0])  # no library prints a message for it, unlike KeyboardInterrupt

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
    """Discard standard error: whatever fails from now on fails because of the signal."""
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), STDERR)  # including compiled code
