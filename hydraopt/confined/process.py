"""A worker process that answers one request at a time, within limits of time and memory."""

import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from typing import Any

from ..errors import require
from ..reading import shortened
from . import worker

QUIET = {  # one thread, as stacks count towards the memory limit; no network, no backtraces
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "RUST_BACKTRACE": "0",
}
TOO_LONG = (signal.SIGPROF, signal.SIGALRM)  # signals of the worker's timers


class ConfinedError(Exception):
    """A request failed; the message is the reason alone."""


class EndedError(ConfinedError):
    """The process ended during the request."""


class Confined:
    """A process of :mod:`.worker`, started at once and ended with this object.

    Threads take turns. A new process is started after a request that ended the previous one, and
    for the first request in a fork, as two processes cannot share a pipe.

    Args:
        function: function of :mod:`.worker` that every new process runs first. The constructor
            does not wait for it; the next request raises its error.
        arguments: arguments of that function.
    """

    def __init__(self, function: str = "", **arguments: Any):
        self._first = {"function": function, **arguments} if function else {}
        self._lock = threading.Lock()
        self._worker: _Worker | None = _Worker(self._first)

    def ask(self, function: str, **arguments: Any) -> Any:
        """Call a function of :mod:`.worker`; arguments and result are JSON values.

        Raises:
            ConfinedError: the function failed or exceeded a limit.
        """
        return _value(self._exchange({"function": function, **arguments}))

    def begun(self) -> None:
        """Wait until the first function has run; errors as :meth:`ask`."""
        self._exchange(None)

    def _exchange(self, request: dict[str, Any] | None) -> dict[str, Any]:
        with self._lock:
            if self._worker is None or self._worker.owner != os.getpid():
                self._worker = _Worker(self._first)
            try:
                self._worker.begun()
                return self._worker.answer(request) if request else {}
            except BaseException:  # a late answer would be read as that of the next request
                self.close()
                raise

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None


class _Worker:
    """One process, which is sent its first request at once."""

    def __init__(self, first: dict[str, Any]):
        self.owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-P", worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | QUIET,
            start_new_session=True,  # a terminal's Ctrl-C is for the parent
        )
        self.end = weakref.finalize(self, _end, self._process, self.owner)
        self._waiting = bool(first)
        if first:
            self._write(first)

    def begun(self) -> None:
        if self._waiting:
            _value(self._read())
            self._waiting = False

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        self._write(request)
        return self._read()

    def _write(self, request: dict[str, Any]) -> None:
        stream = require(self._process.stdin, "pipe")
        with suppress(BrokenPipeError):  # it ended; _read reports how
            stream.write(json.dumps(request).encode() + b"\n")
            stream.flush()

    def _read(self) -> dict[str, Any]:
        line = require(self._process.stdout, "pipe").readline()
        if line.endswith(b"\n"):  # complete
            return json.loads(line)
        raise EndedError(_reason(self._process.wait()))


def _value(answer: dict[str, Any]) -> Any:
    if "error" in answer:
        raise ConfinedError(shortened(answer["error"]))
    return answer["value"]


def _reason(code: int) -> str:
    """Explain why a process ended."""
    if -code in TOO_LONG:
        return f"it takes more than {worker.SECONDS} seconds"
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"it ends by {how}, as when it takes more than {worker.MEMORY >> 30} GiB of memory"


def _end(process: subprocess.Popen, owner: int) -> None:
    if os.getpid() != owner:  # in a fork: the process belongs to the parent
        return
    process.kill()
    with suppress(BrokenPipeError), process:
        pass
