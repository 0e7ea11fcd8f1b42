"""A process that answers requests, one at a time, and ends when one takes too much."""

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

QUIET = {  # one thread each, whose stacks count as memory; nothing to tell
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "RUST_BACKTRACE": "0",
}
TOO_LONG = (signal.SIGPROF, signal.SIGALRM)  # of the timers that a worker sets


class ConfinedError(Exception):
    """Why there is no answer, in a few words."""


class EndedError(ConfinedError):
    """The process did not survive the request."""


class Confined:
    """A process of :mod:`.worker`; it is started at once, and ends with this object.

    Threads take turns. After a request that it did not survive the next one starts another; so
    does the first one in a fork, as two processes cannot share the answers.

    Args:
        function: of :mod:`.worker`, if any, with which every process begins. It is under way when
            this returns; its error is raised by the next request.
        arguments: of that function.
    """

    def __init__(self, function: str = "", **arguments: Any):
        self._first = {"function": function, **arguments} if function else {}
        self._lock = threading.Lock()
        self._worker: _Worker | None = _Worker(self._first)

    def ask(self, function: str, **arguments: Any) -> Any:
        """What a function of :mod:`.worker` makes of arguments; both are JSON.

        Raises:
            ConfinedError: the function failed, or took more than it may.
        """
        return _value(self._exchange({"function": function, **arguments}))

    def begun(self) -> None:
        """Wait for the answer to the first request; errors as :meth:`ask`."""
        self._exchange(None)

    def _exchange(self, request: dict[str, Any] | None) -> dict[str, Any]:
        with self._lock:
            if self._worker is None or self._worker.owner != os.getpid():
                self._worker = _Worker(self._first)
            try:
                self._worker.begun()
                return self._worker.answer(request) if request else {}
            except BaseException:  # a late answer would be taken for that of the next request
                self.close()
                raise

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None


class _Worker:
    """One process, which has the first request."""

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
        with suppress(BrokenPipeError):  # it ended; reading tells how
            stream.write(json.dumps(request).encode() + b"\n")
            stream.flush()

    def _read(self) -> dict[str, Any]:
        line = require(self._process.stdout, "pipe").readline()
        if line.endswith(b"\n"):  # a whole one
            return json.loads(line)
        raise EndedError(_reason(self._process.wait()))


def _value(answer: dict[str, Any]) -> Any:
    if "error" in answer:
        raise ConfinedError(shortened(answer["error"]))
    return answer["value"]


def _reason(code: int) -> str:
    """Why a process ended."""
    if -code in TOO_LONG:
        return f"it takes more than {worker.SECONDS} seconds"
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"it ends by {how}, as what takes more than {worker.MEMORY >> 30} GiB of memory"


def _end(process: subprocess.Popen, owner: int) -> None:
    if os.getpid() != owner:  # a fork, whose copy of the object goes: the process is the parent's
        return
    process.kill()
    with suppress(BrokenPipeError), process:
        pass
