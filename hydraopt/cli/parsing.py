"""Parse option values: comma-separated numbers and NAME=VALUE pairs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..errors import UsageError
from ..reading import UnreadableError, json_value, shortened
from ..schemes import SCHEMES
from .options import MOST


def integers(option: str, text: str) -> list[int]:
    """Parse comma-separated integers; raise ``UsageError`` that names ``option``."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(-MOST <= number <= MOST for number in numbers):
        raise UsageError(f"{option} {shortened(text)!r}: expected integers such as 1,2,4")
    return numbers


def percentages(option: str, text: str) -> list[float]:
    """Parse comma-separated percentages in (0, 100]; raise ``UsageError`` that names ``option``."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number <= 100 for number in numbers):
        raise UsageError(f"{option} {shortened(text)!r}: expected percentages such as 2,5,10")
    return numbers


def settings(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Parse ``NAME=VALUE`` texts into a dict of strings.

    Raises:
        UsageError: a text is not ``NAME=VALUE``, or a name occurs twice; the message names
            ``option``.
    """
    return dict(_pairs(option, texts, bool, "density=0.2"))


def schemes(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Parse ``LAYER=SCHEME`` texts into a dict.

    Raises:
        UsageError: a text is not ``LAYER=SCHEME``, a layer occurs twice or a scheme is unknown; the
            message names ``option``.
    """
    found = dict(_pairs(option, texts, bool, "lm_head=8da8w"))
    for layer, scheme in found.items():
        if scheme not in SCHEMES:
            raise UsageError(
                f"{option} {shortened(f'{layer}={scheme}')!r}: expected a scheme of "
                f"{', '.join(SCHEMES)}"
            )
    return found


def arguments(option: str, texts: Sequence[str]) -> dict[str, Any]:
    """Parse ``name=value`` texts; a value that is not JSON is a string.

    Raises:
        UsageError: ``=`` or the name is missing, a name occurs twice, or a text is not UTF-8; the
            message names ``option``.
    """
    values: dict[str, Any] = {}
    for name, value in _pairs(option, texts, str.isidentifier, "enable_thinking=false"):
        try:
            f"{name}={value}".encode()
            values[name] = json_value(value)
        except UnicodeEncodeError:
            text = shortened(f"{name}={value}")
            raise UsageError(f"{option} {text!r} is not UTF-8; correct it") from None
        except UnreadableError:
            values[name] = value
    return values


def weights(option: str, texts: Sequence[str]) -> dict[str, float]:
    """Parse ``TASK=WEIGHT`` texts into a dict of numbers.

    Raises:
        UsageError: a text is not ``TASK=WEIGHT``, or a task occurs twice; the message names
            ``option``.
    """
    found = {}
    for task, weight in _pairs(option, texts, bool, "formal=0.6"):
        try:
            found[task] = float(weight)
        except ValueError:
            text = shortened(f"{task}={weight}")
            raise UsageError(
                f"{option} {text!r}: expected a number, for example {task}=0.6"
            ) from None
    return found


def _pairs(
    option: str, texts: Sequence[str], is_name: Callable[[str], bool], example: str
) -> Iterator[tuple[str, str]]:
    """Split ``NAME=VALUE`` texts; raise ``UsageError`` for another form or a repeated name."""
    names: set[str] = set()
    for text in texts:
        name, separator, value = text.partition("=")
        if not (separator and is_name(name)):
            raise UsageError(
                f"{option} {shortened(text)!r}: expected NAME=VALUE, for example {example}"
            )
        if name in names:
            raise UsageError(f"{option} gives {shortened(name)!r} twice; give it once")
        names.add(name)
        yield name, value
