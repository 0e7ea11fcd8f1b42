"""What compiled code prints on standard error, past Python."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2


@contextmanager
def native_log() -> Iterator[list[str]]:
    """Keep standard error off the terminal while the block runs; its lines are there at the end."""
    lines: list[str] = []
    sys.stderr.flush()
    terminal = os.dup(STDERR)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), STDERR)
        try:
            yield lines
        finally:
            os.dup2(terminal, STDERR)
            os.close(terminal)
            log.seek(0)
            lines += log.read().decode(errors="replace").splitlines()
