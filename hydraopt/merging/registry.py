"""``METHODS``, the registry of merging methods, and merging by a method's name."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeVar

from ..adapters import AdapterSet
from ..errors import UsageError
from ..stored import MergedAdapters, relative_errors
from ..training import CalibrationData
from .method import Method

Function = TypeVar("Function", bound=Callable[..., MergedAdapters])

METHODS: dict[str, Method] = {}
"""All methods by name, in the order of ``hydraopt methods``."""


def merging_method(
    *,
    name: str,
    paper: str,
    storage: str,
    per_task: bool = False,
    needs: Literal["nothing", "data", "labels"] = "nothing",
) -> Callable[[Function], Function]:
    """Register the decorated function in ``METHODS`` and return it unchanged.

    The arguments are the attributes of :class:`Method`.

    Raises:
        ValueError: the name is taken.
    """

    def register(function: Function) -> Function:
        if name in METHODS:
            other = METHODS[name].function.__module__
            raise ValueError(
                f"merging method {name!r} already exists in {other}; choose another name"
            )
        METHODS[name] = Method(
            name=name,
            function=function,
            paper=paper,
            per_task=per_task,
            needs=needs,
            storage=storage,
        )
        return function

    return register


def find_method(name: str) -> Method:
    """Look up a method in ``METHODS``; raises ``UsageError`` if it does not exist."""
    if name not in METHODS:
        raise UsageError(f"no merging method {name!r}; expected one of {', '.join(METHODS)}")
    return METHODS[name]


def merge_with(
    method: str, adapters: AdapterSet, data: CalibrationData | None = None, **settings: object
) -> MergedAdapters:
    """Merge adapters with the method of this name; values of settings may be text.

    Raises:
        UsageError: an unknown method or setting, text that does not parse, or ``data`` that is
            missing or not needed.
        MergeError: a setting is out of range.
        DataError: ``data`` does not fit the adapters.
        TrainingError: training cannot continue.
    """
    entry = find_method(method)
    values = {name: entry.option(name, value) for name, value in settings.items()}
    merged = entry.merge(adapters, data, values)
    return replace(merged, errors=relative_errors(adapters, merged))
