"""Merging methods: plain functions ``AdapterSet -> MergedAdapters``, listed in ``METHODS``."""

import inspect
from collections.abc import Callable

from ..adapters import AdapterSet
from ..errors import UsageError
from .hydraopt import average, hydraopt
from .merged import MergedAdapters, Side

METHODS: dict[str, Callable[..., MergedAdapters]] = {"hydraopt": hydraopt, "average": average}


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
    return METHODS[method](adapters, **settings)


__all__ = ["METHODS", "MergedAdapters", "Side", "average", "hydraopt", "merge_with"]
