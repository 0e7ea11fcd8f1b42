"""What compiled code prints on standard error, kept off the terminal.

ExecuTorch's Python bindings print through ``sys.stderr``: :func:`thread_log` tells by the thread
whose it is. Its operators in PyTorch print on the descriptor, which all threads and compiled code
share, as tokenizers does of a panic: :func:`native_log` tells by its look.
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
NATIVE = re.compile(rb"\[\w+\.(cpp|h):\d+\] ")  # begins a line of ExecuTorch
PANIC = re.compile(rb"(?ms)^\n?thread '.*? panicked at .*?(^note: [^\n]*\n|\Z)")  # Rust's lines

_lock = threading.RLock()  # a signal's handler may come back here


@contextmanager
def thread_log() -> Iterator[list[str]]:
    """Keep what this thread writes to ``sys.stderr`` while the block runs; its lines are there at
    the end. What other threads write goes where it always goes.
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
    """A stream in the place of ``sys.stderr`` that tells threads apart."""

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


_own = threading.local()  # .log: where a thread writes that keeps what it writes
_logs: set[io.StringIO] = set()  # of all threads


def _route(log: io.StringIO, *, needed: bool) -> None:
    """Let ``sys.stderr`` tell threads apart while any of them needs it."""
    with _lock:
        (_logs.add if needed else _logs.discard)(log)
        if _logs and not isinstance(sys.stderr, _ByThread):
            sys.stderr = _ByThread(sys.stderr)
        elif not _logs and isinstance(sys.stderr, _ByThread):
            sys.stderr = sys.stderr.stream


@contextmanager
def native_log() -> Iterator[None]:
    """Keep lines of ExecuTorch, and of panics, off descriptor 2 while the block runs, in however
    many threads.

    All that others print there meanwhile is printed when the last of these blocks ends.
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


_users: set[object] = set()  # blocks that run
_diverted: tuple[int, IO[bytes]] | None = None  # the terminal, and the file in its place


def _divert() -> None:
    global _diverted  # noqa: PLW0603 one for the process, as the descriptor is
    if _diverted is None:
        with suppress(AttributeError, ValueError):  # no stream, or a closed one
            sys.stderr.flush()
        _diverted = os.dup(STDERR), tempfile.TemporaryFile()  # noqa: SIM115 see _restore
        os.dup2(_diverted[1].fileno(), STDERR)


def _restore(*, replay: bool) -> None:
    """Put the terminal back, unless somebody gave the descriptor another meaning since."""
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
    """Other threads, and the blocks that they are in, do not come along in a fork."""
    _logs.clear()
    _users.clear()
    _restore(replay=False)
    _lock.release()


os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_in_child)
