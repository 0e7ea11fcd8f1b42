"""Lists of numbers in options, with commas between; names with values."""

from collections.abc import Sequence
from typing import Any

from ..errors import UsageError
from ..reading import UnreadableError, json_value, shortened
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


def settings(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Values by name of ``NAME=VALUE`` each, as text.

    Raises:
        UsageError: that names ``option``: a text of another form, or a name that occurs twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not (separator and name):
            raise UsageError(
                f"{option} {shortened(text)!r}, expected NAME=VALUE, for example density=0.2"
            )
        if name in values:
            raise UsageError(f"{option} gives {shortened(name)!r} twice; give it once")
        values[name] = value
    return values


def arguments(option: str, texts: Sequence[str]) -> dict[str, Any]:
    """Values by name of ``name=value`` each; a value that is no JSON is text.

    Raises:
        UsageError: that names ``option``: no ``=`` or name, a name twice, or text of no UTF-8.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(
                f"{option} {shortened(text)!r}: expected a name and a value, such as "
                "enable_thinking=false"
            )
        if name in values:
            raise UsageError(f"{option} tells {shortened(name)!r} twice; pass it once")
        try:
            text.encode()
            values[name] = json_value(value)
        except UnicodeEncodeError:
            raise UsageError(f"{option} {shortened(text)!r} is no UTF-8; correct it") from None
        except UnreadableError:
            values[name] = value
    return values
