"""What the C++ runtime needs, and what it prints."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import BundleError

logger = logging.getLogger(__name__)


def load_kernels() -> None:
    """Register the operators that programs of language models use beside ExecuTorch's core ones."""
    from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401
    from executorch.kernels import quantized  # noqa: F401


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Keep the C++ runtime's log of a load off the terminal; quote it if the load fails.

    Raises:
        BundleError: ExecuTorch refused to load.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        failure = None
        try:
            yield
        except RuntimeError as error:
            failure = error
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            log.seek(0)
            lines = log.read().decode(errors="replace").splitlines()
    for line in lines:
        logger.info("executorch: %s", line)
    if failure:
        reason = lines[-1] if lines else failure
        raise BundleError(f"ExecuTorch cannot load {what} ({reason})") from failure
