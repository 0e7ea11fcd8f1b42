"""PEFT's patterns of module names: regular expressions that others wrote, matched in bounded time.

PEFT takes ``rank_pattern`` and ``alpha_pattern`` as they are. An expression such as ``(a+)+b`` may
try for ever; here it has :data:`SECONDS`.
"""

import regex

SECONDS = 1.0
LONGEST = 1000  # characters of a pattern


class PatternError(ValueError):
    """A text that is no regular expression, or one that takes too long."""


class Pattern:
    """One pattern; equal texts are equal patterns.

    Raises:
        PatternError: the text is none.
    """

    def __init__(self, text: str):
        if len(text) > LONGEST:
            raise PatternError(f"{len(text):,} characters, expected at most {LONGEST:,}")
        try:
            self._compiled = regex.compile(rf"(.*\.)?({text})")
        except (regex.error, RecursionError, OverflowError) as error:
            raise PatternError(f"{text[:80]!r}: {str(error) or 'nested too deep'}") from None

    def matches(self, module: str) -> bool:
        """Whether it matches the module's whole name, or its end after a dot.

        Raises:
            PatternError: it takes longer than :data:`SECONDS`.
        """
        try:
            return self._compiled.fullmatch(module, timeout=SECONDS) is not None
        except TimeoutError:
            raise PatternError(f"matching takes more than {SECONDS:g} s") from None
