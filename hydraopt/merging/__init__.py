"""Merging methods: plain functions ``AdapterSet -> MergedAdapters``, listed in ``METHODS``."""

import inspect
from collections.abc import Callable
from dataclasses import replace

from ..adapters import AdapterSet
from ..errors import UsageError
from .description import DESCRIPTION, read_description, write_description
from .hydraopt import average, hydraopt
from .merged import MergedAdapters, Side, task_to_peft
from .private import private
from .quality import relative_error, relative_errors

METHODS: dict[str, Callable[..., MergedAdapters]] = {
    "hydraopt": hydraopt,
    "average": average,
    "private": private,
}


def merge_with(method: str, adapters: AdapterSet, **settings: object) -> MergedAdapters:
    """Merge by a method's name.

    Raises:
        UsageError: no such method, or a setting that it does not have.
        MergeError: a setting's value that it cannot take.
    """
    if method not in METHODS:
        raise UsageError(f"no merging method {method!r}; there are: {', '.join(METHODS)}")
    known = inspect.signature(METHODS[method]).parameters
    for name in settings:
        if name not in known:
            raise UsageError(f"method {method} has no option --{name}")
    merged = METHODS[method](adapters, **settings)
    return replace(merged, errors=relative_errors(adapters, merged))


__all__ = [
    "DESCRIPTION",
    "METHODS",
    "MergedAdapters",
    "Side",
    "average",
    "hydraopt",
    "merge_with",
    "private",
    "read_description",
    "relative_error",
    "relative_errors",
    "task_to_peft",
    "write_description",
]
