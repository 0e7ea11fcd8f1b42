"""What the C++ runtime needs, and what it prints."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import BundleError
from ..native_log import native_log

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


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Keep the C++ runtime's log of a load off the terminal; quote it if the load fails.

    Raises:
        BundleError: ExecuTorch refused to load.
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
        reason = lines[-1] if lines else failure
        raise BundleError(f"ExecuTorch cannot load {what} ({reason})") from failure
