"""Turn exceptions of models and the export stack into one line, but not our own bugs."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import HydraOptError, LoweringError
from ..reading import shortened

PACKAGE = str(Path(__file__).resolve().parents[1])
TRACED = re.compile(r'File "([^"]+)", line \d+')  # traced code in torch's messages


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Raise ``LoweringError`` for exceptions of other libraries in the block.

    Args:
        what: what failed, for the message.

    Raises:
        LoweringError: other code raised an exception. Exceptions of this package, and those about
            memory and files, pass unchanged.
    """
    try:
        yield
    except (HydraOptError, MemoryError, OSError):
        raise
    except Exception as error:
        if _is_ours(error):
            raise
        reason = shortened(f"{type(error).__name__}: {error}".strip().partition("\n")[0])
        raise LoweringError(f"{what} ({reason}); this architecture cannot be exported") from error


def _is_ours(error: Exception) -> bool:
    """Return whether the deepest frame, traced code included, is in this package."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    _, _, user = str(error).partition("from user code:")
    deepest = [frame.f_code.co_filename, *TRACED.findall(user)][-1]
    return deepest.startswith(PACKAGE)
