"""Backends: what runs the matrix products of a program, one package each.

A backend takes seconds to import, so that the names are here and the packages are imported when
one is used. [docs/new-backend.md](docs/new-backend.md) says how to write one.
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
    """The backend of a name.

    Raises:
        LoweringError: there is none.
    """
    if name not in BACKENDS:
        raise LoweringError(f"unknown backend {name!r}, expected {' or '.join(BACKENDS)}")
    return import_module(BACKENDS[name]).BACKEND
