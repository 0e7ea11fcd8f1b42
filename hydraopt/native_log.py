"""Keep the log of compiled code off the terminal.

ExecuTorch's Python bindings print to ``sys.stderr``, which :func:`thread_log` captures by thread.
Its PyTorch operators, and tokenizers on a panic, print to file descriptor 2, which all threads
share: :func:`native_log` recognises their lines by a pattern.
"""

import io
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

STDERR = 2
NATIVE = re.compile(rb"\[\w+\.(cpp|h):\d+\] ")  # start of an ExecuTorch log line
PANIC = re.compile(rb"(?ms)^\n?thread '.*? panicked at .*?(^note: [^\n]*\n|\Z)")  # of Rust

_lock = threading.RLock()  # reentrant: a signal handler may take it again


@contextmanager
def thread_log() -> Iterator[list[str]]:
    """Capture what this thread writes to ``sys.stderr``; the list is filled when the block ends.

    Other threads write to the original stream.
    """
    lines: list[str] = []
    log, outer = io.StringIO(), getattr(_own, "log", None)
    try:
        _own.log = log
        _route(log, needed=True)
        yield lines
    finally:
        _own.log = outer
        _route(log, needed=False)
        lines += log.getvalue().splitlines()


class _ByThread:
    """A replacement of ``sys.stderr`` that routes each thread's output."""

    def __init__(self, stream: Any):
        self.stream = stream

    def write(self, text: str) -> int:
        stream = getattr(_own, "log", None) or self.stream
        return stream.write(text) if stream else len(text)  # as print does without one

    def flush(self) -> None:
        if self.stream:
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


_own = threading.local()  # .log: the capturing stream of a thread
_logs: set[io.StringIO] = set()  # the capturing streams of all threads


def _route(log: io.StringIO, *, needed: bool) -> None:
    """Replace ``sys.stderr`` while any thread captures, and restore it afterwards."""
    with _lock:
        (_logs.add if needed else _logs.discard)(log)
        if _logs and not isinstance(sys.stderr, _ByThread):
            sys.stderr = _ByThread(sys.stderr)
        elif not _logs and isinstance(sys.stderr, _ByThread):
            sys.stderr = sys.stderr.stream


@contextmanager
def native_log() -> Iterator[None]:
    """Drop lines of ExecuTorch and of Rust panics from file descriptor 2 while the block runs.

    Blocks may overlap in several threads; all other output is printed when the last one ends.
    """
    user = object()
    try:
        with _lock:
            _users.add(user)
            _divert()
        yield
    finally:
        with _lock:
            _users.discard(user)
            if not _users:
                _restore(replay=True)


_users: set[object] = set()  # active blocks
_diverted: tuple[int, IO[bytes]] | None = None  # the terminal's descriptor, the file replacing it


def _divert() -> None:
    global _diverted  # noqa: PLW0603 one per process, as the descriptor
    if _diverted is None:
        with suppress(AttributeError, ValueError):  # no stream, or a closed one
            sys.stderr.flush()
        _diverted = os.dup(STDERR), tempfile.TemporaryFile()  # noqa: SIM115 see _restore
        os.dup2(_diverted[1].fileno(), STDERR)


def _restore(*, replay: bool) -> None:
    """Restore the descriptor, unless it was redirected again in the meantime."""
    global _diverted  # noqa: PLW0603 see above
    if _diverted is None:
        return
    terminal, log = _diverted
    with suppress(OSError):  # it was closed
        if os.path.sameopenfile(STDERR, log.fileno()):
            os.dup2(terminal, STDERR)
    _diverted = None
    os.close(terminal)
    with log, suppress(OSError), open(STDERR, "wb", closefd=False) as stream:
        log.seek(0)
        lines = PANIC.sub(b"", log.read()).splitlines(keepends=True)
        stream.writelines(line for line in lines if replay and not NATIVE.match(line))


def _in_child() -> None:
    """Reset the state in a forked child, which has no other threads."""
    _logs.clear()
    _users.clear()
    _restore(replay=False)
    _lock.release()


os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_in_child)
