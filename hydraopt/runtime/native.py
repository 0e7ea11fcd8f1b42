"""What the C++ runtime needs, and what it prints."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BundleError
from ..native_log import native_log
from ..reading import shortened

if TYPE_CHECKING:
    from executorch.runtime import Method

logger = logging.getLogger(__name__)

KERNELS = (
    "extension/llm/custom_ops/libcustom_ops_aot_lib.*",
    "kernels/quantized/libquantized_ops_aot_lib.*",
)


def load_kernels() -> None:
    """Register the operators that programs of language models use beside ExecuTorch's core ones.

    The libraries are loaded by themselves: ExecuTorch's modules around them import compilers of
    PyTorch, which takes seconds.
    """
    import executorch
    import torch
    from executorch.extension.pybindings import portable_lib  # noqa: F401  they link to it

    package = Path(executorch.__path__[0])
    for pattern in KERNELS:
        for library in package.glob(pattern):
            torch.ops.load_library(library)


class Running:
    """A loaded method that is executed: whatever ExecuTorch finds wrong then is a ``BundleError``.

    The log of the first call is kept off the terminal: if a method is not what its bundle needs,
    that one tells. For later calls it would take longer than to decode a token.
    """

    def __init__(self, method: "Method", what: str):
        self._method, self._what = method, what
        self._tried = False

    def execute(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """The outputs; inputs as ExecuTorch takes them.

        Raises:
            BundleError: ExecuTorch refused them.
        """
        if not self._tried:
            self._tried = True
            with loading(self._what, "run"):
                return self._method.execute(inputs)
        try:
            return self._method.execute(inputs)
        except RuntimeError as error:
            raise _refused("run", self._what, error) from error


@contextmanager
def loading(what: str, does: str = "load") -> Iterator[None]:
    """Keep the C++ runtime's log of a load off the terminal; quote it if the load fails.

    Raises:
        BundleError: ExecuTorch refused to load, or whatever else it ``does``.
    """
    failure = None
    with native_log() as lines:
        try:
            yield
        except RuntimeError as error:
            failure = error
    for line in lines:
        logger.info("executorch: %s", line)
    if failure:
        raise _refused(does, what, lines[-1] if lines else failure) from failure


def _refused(does: str, what: str, reason: object) -> BundleError:
    return BundleError(
        f"ExecuTorch cannot {does} {what} ({shortened(reason)}); export or copy it again"
    )
