"""How an answer ends, and what of it is shown."""

from collections.abc import Generator, Iterable, Sequence
from enum import Enum

from ..errors import UsageError

END_OF_TEXT = "\0"  # a character that is neither white space nor of a tag


class End(Enum):
    """Why a generation ended."""

    END_TOKEN = "end token"  # the model generated one
    MAX_NEW_TOKENS = "max new tokens"
    CONTEXT = "context"  # it is full
    STOP = "stop string"
    CANCELLED = "cancelled"  # it was not read to its end


def stop_strings(stop: str | Sequence[str]) -> tuple[str, ...]:
    """Return stop strings as a tuple; raise ``UsageError`` for an empty one."""
    found = (stop,) if isinstance(stop, str) else tuple(stop)
    if "" in found:
        raise UsageError("a stop string is empty, which ends every text; leave it out")
    return found


def until(pieces: Iterable[str], stop: Sequence[str]) -> Generator[str, None, bool]:
    """Yield the text of ``pieces`` up to the first stop string, whose parts are never yielded.

    Of stop strings that are complete at the same character, the longest counts. A piece ends
    before what may turn out to be a stop string.

    Returns:
        Whether there was a stop string.
    """
    held = ""
    for piece in pieces:
        held += piece
        found = [(at + len(x), at) for x in stop if (at := held.find(x)) >= 0]
        if found:
            if before := held[: min(found)[1]]:
                yield before
            return True
        shown = len(held) - max((_begun(held, x) for x in stop), default=0)
        if shown:
            yield held[:shown]
            held = held[shown:]
    if held:
        yield held
    return False


def _begun(text: str, stop: str) -> int:
    """Return the length of the longest end of ``text`` that begins ``stop``."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def without_empty_thoughts(
    pieces: Iterable[str], tags: tuple[str, str] | None
) -> Generator[str, None, None]:
    """Yield the text of ``pieces`` without the thoughts that it begins with, if they are empty.

    Args:
        pieces: an answer.
        tags: opening and closing tag of thoughts; None if a model has none.
    """
    held = ""
    pieces = iter(pieces)
    for piece in pieces if tags else ():
        held += piece
        if shown := _beyond(held, tags or ()):
            yield shown
            break
    else:
        if end := _beyond(held + END_OF_TEXT, tags or ())[:-1]:
            yield end
    yield from pieces


def _beyond(text: str, tags: Sequence[str]) -> str:
    """Return what comes after empty thoughts; empty if that is not known yet."""
    rest = text.lstrip()
    for tag in tags:
        if not rest.startswith(tag):
            return "" if tag.startswith(rest) else text
        rest = rest[len(tag) :].lstrip()
    return rest
