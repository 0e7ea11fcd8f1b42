"""Lock a session to one thread at a time and to the process that opened it."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from threading import RLock
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from ..errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")


class Turns:
    """The lock of one object, with its process."""

    def __init__(self, what: str):
        self._what = what
        self._process = os.getpid()
        self._lock = RLock()

    def lock(self) -> AbstractContextManager:
        """Return the lock that a call holds.

        Raises:
            UsageError: in a fork, where a thread of the parent may hold the lock forever.
        """
        if os.getpid() != self._process:
            raise UsageError(
                f"{self._what} was opened before this process was forked, and ExecuTorch's threads "
                "are not in a fork; open it again here, or start processes by multiprocessing's "
                "'spawn'"
            )
        return self._lock


class _TakesTurns(Protocol):
    _turns: Turns


S = TypeVar("S", bound=_TakesTurns)


def in_turn(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Decorate a method to hold its object's lock."""

    @wraps(method)
    def waiting(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._turns.lock():
            return method(self, *args, **kwargs)

    return waiting
