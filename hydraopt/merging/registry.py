"""``METHODS``: every merging method, registered where it is written; merging by a method's name."""

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
"""All methods by name, in the order in which ``hydraopt methods`` lists them."""


def merging_method(
    *,
    name: str,
    paper: str,
    per_task: bool,
    needs: Literal["nothing", "data", "labels"],
    storage: str,
) -> Callable[[Function], Function]:
    """Put the decorated function into ``METHODS``; the function stays as it is.

    The arguments are the attributes of :class:`Method`.

    Raises:
        ValueError: another function has the name.
    """

    def register(function: Function) -> Function:
        if name in METHODS:
            other = METHODS[name].function.__module__
            raise ValueError(f"merging method {name!r} is in {other} already; choose another name")
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
    """The entry of ``METHODS``; raises ``UsageError`` if there is none."""
    if name not in METHODS:
        raise UsageError(f"no merging method {name!r}; there are: {', '.join(METHODS)}")
    return METHODS[name]


def merge_with(
    method: str, adapters: AdapterSet, data: CalibrationData | None = None, **settings: object
) -> MergedAdapters:
    """Merge by a method's name; the settings' values may be text.

    Raises:
        UsageError: no such method, a setting that it does not have, text of another type, or
            ``data`` missing or too much.
        MergeError: a setting's value that it cannot take.
        DataError: ``data`` that does not fit the adapters.
        TrainingError: a training that cannot go on.
    """
    entry = find_method(method)
    values = {name: entry.option(name, value) for name, value in settings.items()}
    merged = entry.merge(adapters, data, values)
    return replace(merged, errors=relative_errors(adapters, merged))
