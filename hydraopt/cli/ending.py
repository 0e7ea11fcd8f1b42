"""How a command line ends: whatever a user did wrong is one line."""

import sys
from collections.abc import Callable

from ..errors import HydraOptError, UsageError
from .interrupts import ending_on_signals

EXTRAS = ("executorch", "torchao", "gguf", "accelerate", "babel", "num2words", "matplotlib")


def run_command_line(command: Callable[[], object]) -> None:
    """Call it: a user's mistake is one line and exit code 1, or 2 for wrong usage.

    So is a signal, with exit code 128 + its number.
    """
    try:
        with ending_on_signals():
            command()
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in EXTRAS:
            fail(f"{error.name} is not installed; run pip install 'hydraopt[all]'")
        raise
    except UsageError as error:
        fail(error, code=2)
    except (HydraOptError, OSError) as error:
        fail(error)


def fail(error: object, code: int = 1) -> None:
    """Print one line and exit."""
    print("error:", " ".join(str(error).split()), file=sys.stderr)
    sys.exit(code)
