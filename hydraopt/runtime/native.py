"""What the C++ runtime needs, and what it prints."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BundleError
from ..native_log import thread_log
from ..private.executorch import (
    DATA_ID,
    HEAD,
    PROGRAM_ID,
    bytes_of,
    identifier,
    kernel_libraries,
)
from ..reading import UnreadableError, check_regular, shortened

if TYPE_CHECKING:
    from executorch.runtime import Method, Program

logger = logging.getLogger(__name__)

_process = os.getpid()


def load_kernels() -> None:
    """Register the operators that programs of language models use beside ExecuTorch's core ones.

    The libraries are loaded by themselves: ExecuTorch's modules around them import compilers of
    PyTorch, which takes seconds.
    """
    import torch
    from executorch.extension.pybindings import portable_lib  # noqa: F401  they link to it

    for library in kernel_libraries():
        torch.ops.load_library(library)
    if os.getpid() != _process:
        # ExecuTorch makes new threads after a fork, OpenMP would wait for those of the parent
        torch.set_num_threads(1)


def load_program(path: Path, version: str, data: Path | None = None) -> "Program":
    """The program in a .pte file, with the weights in a .ptd file if it keeps them there.

    ExecuTorch verifies structure and bounds as it loads a program; the beginning of a file, and
    where its data are, must be right before.

    Args:
        path: of the program.
        version: of ExecuTorch that made it, for errors.
        data: the .ptd file.

    Raises:
        BundleError: a file that is missing, cut or of another kind, or ExecuTorch refused them.
    """
    from executorch.runtime import Runtime

    head = _head(path, PROGRAM_ID)
    size = path.stat().st_size
    if (wanted := bytes_of(head, size)) is not None:
        raise BundleError(
            f"{path} has {size:,} bytes, expected {wanted:,} by its header; export or copy it again"
        )
    if data:
        _head(data, DATA_ID)
    with loading(f"{path}, made with executorch {version}"):
        return Runtime.get().load_program(str(path), data_path=data)


def _head(path: Path, expected: bytes) -> bytes:
    """The first bytes of a file with this identifier."""
    try:
        check_regular(path)
    except UnreadableError as error:
        raise BundleError(f"{path} cannot be read ({error}); export or copy it again") from None
    with path.open("rb") as file:
        head = file.read(HEAD).ljust(HEAD, b"\0")
    if identifier(head) != expected:
        raise BundleError(
            f"{path} is no file of ExecuTorch: its identifier is {identifier(head)!r}, expected "
            f"{expected!r}; export or copy it again"
        )
    return head


class Running:
    """A loaded method; whatever ExecuTorch finds wrong as it runs is a ``BundleError``."""

    def __init__(self, method: "Method", what: str):
        self._method, self._what = method, what

    def execute(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """The outputs; inputs as ExecuTorch takes them.

        Raises:
            BundleError: ExecuTorch refused them.
        """
        with loading(self._what, "run"):
            return self._method.execute(inputs)


@contextmanager
def loading(what: str, does: str = "load") -> Iterator[None]:
    """Keep the C++ runtime's log of a load off the terminal; quote it if the load fails.

    Raises:
        BundleError: ExecuTorch refused to load, or whatever else it ``does``.
    """
    failure = None
    with thread_log() as lines:
        try:
            yield
        except (RuntimeError, MemoryError, ValueError) as error:  # also sizes and text of no sense
            failure = error
    for line in lines:
        logger.info("executorch: %s", line)
    if failure:
        reason = shortened(lines[-1] if lines else failure)
        raise BundleError(
            f"ExecuTorch cannot {does} {what} ({reason}); export or copy it again"
        ) from failure
