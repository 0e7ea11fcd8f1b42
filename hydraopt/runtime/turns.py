"""Who may call a session: one thread at a time, of the process that opened it."""

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
    """The turns of one object."""

    def __init__(self, what: str):
        self._what = what
        self._process = os.getpid()
        self._lock = RLock()

    def lock(self) -> AbstractContextManager:
        """What a call holds.

        Raises:
            UsageError: in a fork, where another thread of the parent may hold it for ever.
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
    """Let a method wait until other threads have left all methods of its object that wait."""

    @wraps(method)
    def waiting(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._turns.lock():
            return method(self, *args, **kwargs)

    return waiting
