"""Work on every module of some adapters, in parallel."""

from collections.abc import Callable
from typing import TypeVar

from ..parallel import each
from .lora import AdapterSet

R = TypeVar("R")


def each_module(
    adapters: AdapterSet, function: Callable[[AdapterSet, str], R], description: str
) -> dict[str, R]:
    """Call a function with every module; return module -> result, in the modules' order.

    Args:
        adapters: the adapters.
        function: called with the adapters of one module alone, and with its name, so that units
            that are sent to a cluster are small; see :func:`hydraopt.parallel.each`.
        description: text before the progress bar.
    """
    units = [adapters.only(module) for module in adapters.shapes]
    found = each(lambda alone: function(alone, *alone.shapes), units, description)
    return dict(zip(adapters.shapes, found, strict=True))
