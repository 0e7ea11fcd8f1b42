"""Backends, which run the matrix products of a program: one package each.

Backends take seconds to import and are imported when used. See docs/new-backend.md for how to write
one.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ...errors import LoweringError

if TYPE_CHECKING:
    from .backend import Backend

BACKENDS: dict[str, str] = {
    "xnnpack": "hydraopt.lowering.backends.xnnpack",
}
"""Name -> module whose ``BACKEND`` is the :class:`~.backend.Backend`."""
DEFAULT = "xnnpack"


def find_backend(name: str = DEFAULT) -> "Backend":
    """Return a backend by name.

    Raises:
        LoweringError: the name is unknown.
    """
    if name not in BACKENDS:
        raise LoweringError(f"unknown backend {name!r}, expected {' or '.join(BACKENDS)}")
    return import_module(BACKENDS[name]).BACKEND
