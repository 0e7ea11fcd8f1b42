"""Loading kernels and programs into the C++ runtime, and capturing its log."""

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
    """Register the kernels for language models, which ExecuTorch's core lacks.

    Loads the shared libraries directly: importing ExecuTorch's own modules for them pulls in
    PyTorch's compilers, which takes seconds.
    """
    import torch
    from executorch.extension.pybindings import portable_lib  # noqa: F401  the libraries link to it

    for library in kernel_libraries():
        torch.ops.load_library(library)
    if os.getpid() != _process:
        # ExecuTorch starts new threads after a fork; OpenMP would wait for the parent's
        torch.set_num_threads(1)


def load_program(path: Path, version: str, data: Path | None = None) -> "Program":
    """Load a .pte file, with its external weights if it has a .ptd file.

    ExecuTorch verifies structure and bounds while it loads; the identifier and the size that the
    header states are checked before.

    Args:
        path: the .pte file.
        version: version of ExecuTorch that wrote it, for error messages.
        data: the .ptd file.

    Raises:
        BundleError: a missing, truncated or foreign file, or one that ExecuTorch rejects.
    """
    from executorch.runtime import Runtime

    head = _head(path, PROGRAM_ID)
    size = path.stat().st_size
    if (expected := bytes_of(head, size)) is not None:
        raise BundleError(
            f"{path} has {size:,} bytes, expected {expected:,} by its header; export or copy it "
            "again"
        )
    if data:
        _head(data, DATA_ID)
    with loading(f"{path}, made with executorch {version}"):
        return Runtime.get().load_program(str(path), data_path=data)


def _head(path: Path, expected: bytes) -> bytes:
    """Return a file's header after checking that it has the ``expected`` identifier."""
    try:
        check_regular(path)
    except UnreadableError as error:
        raise BundleError(f"{path} cannot be read ({error}); export or copy it again") from None
    with path.open("rb") as file:
        head = file.read(HEAD).ljust(HEAD, b"\0")
    if identifier(head) != expected:
        raise BundleError(
            f"{path} is not an ExecuTorch file: its identifier is {identifier(head)!r}, expected "
            f"{expected!r}; export or copy it again"
        )
    return head


class Running:
    """A loaded method whose errors at run time are raised as ``BundleError``."""

    def __init__(self, method: "Method", what: str):
        self._method, self._what = method, what

    def execute(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Run the method and return its outputs.

        Raises:
            BundleError: ExecuTorch rejects the inputs.
        """
        with loading(self._what, "run"):
            return self._method.execute(inputs)


@contextmanager
def loading(what: str, does: str = "load") -> Iterator[None]:
    """Redirect the C++ runtime's log to ``logging``; if the block fails, quote its last line.

    Args:
        what: what is loaded or run.
        does: the verb for the message.

    Raises:
        BundleError: the block raised an error of ExecuTorch.
    """
    failure = None
    with thread_log() as lines:
        try:
            yield
        except (RuntimeError, MemoryError, ValueError) as error:  # invalid sizes and strings, too
            failure = error
    for line in lines:
        logger.info("executorch: %s", line)
    if failure:
        reason = shortened(lines[-1] if lines else failure)
        raise BundleError(
            f"ExecuTorch cannot {does} {what} ({reason}); export or copy it again"
        ) from failure
