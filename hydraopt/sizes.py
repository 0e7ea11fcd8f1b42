"""Sizes in bytes as users write them: ``12MB``, or a share of a whole such as ``10%``."""

import re

from .errors import UsageError

UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*(%|" + "|".join(UNITS) + ")")


def parse_size(text: str, whole: int, what: str = "budget") -> int:
    """Convert ``10%`` (of ``whole`` bytes) or ``12MB`` to bytes.

    Raises:
        UsageError: the text has neither form; the message says ``what`` it is.
    """
    match = SIZE.fullmatch(text.strip())
    if not match or not float(match[1]):
        raise UsageError(f"{what} {text[:80]!r}, expected a share like 10% or bytes like 12MB")
    number, unit = float(match[1]), match[2]
    return int(number / 100 * whole if unit == "%" else number * UNITS[unit])
