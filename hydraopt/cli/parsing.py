"""Lists of numbers in options, with commas between."""

from ..errors import UsageError
from ..reading import shortened
from .options import MOST


def integers(option: str, text: str) -> list[int]:
    """The integers of ``text``; raises ``UsageError`` that names ``option`` for anything else."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(-MOST <= number <= MOST for number in numbers):
        raise UsageError(f"{option} {shortened(text)!r}: expected integers such as 1,2,4")
    return numbers


def percentages(option: str, text: str) -> list[float]:
    """Numbers above 0 and up to 100; raises ``UsageError`` that names ``option``."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number <= 100 for number in numbers):
        raise UsageError(f"{option} {shortened(text)!r}: expected percentages such as 2,5,10")
    return numbers
