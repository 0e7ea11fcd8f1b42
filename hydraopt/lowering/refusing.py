"""What an architecture or the export stack cannot do is told in one line; a bug of ours is not."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import HydraOptError, LoweringError
from ..reading import shortened

PACKAGE = str(Path(__file__).resolve().parents[1])
TRACED = re.compile(r'File "([^"]+)", line \d+')  # in torch's messages, of the code it traced


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Let code of others run on a user's model while the block runs.

    Args:
        what: does not work if it raises, for the message.

    Raises:
        LoweringError: it raised something, of whatever type and length. What code of this package
            raised, or what concerns memory and files, stays as it is.
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
    """Whether the deepest code, among that which torch traced, is of this package."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    _, _, user = str(error).partition("from user code:")
    deepest = [frame.f_code.co_filename, *TRACED.findall(user)][-1]
    return deepest.startswith(PACKAGE)
