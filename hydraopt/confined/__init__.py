"""Run untrusted tokenizers and chat templates in a separate process with limits.

Both are programs: they can loop forever, exhaust memory or abort the process that runs them.
"""

from .panics import catching_panics
from .process import Confined, ConfinedError, EndedError
from .tokenizer import ConfinedTokenizer, try_tokenizer

__all__ = [
    "Confined",
    "ConfinedError",
    "ConfinedTokenizer",
    "EndedError",
    "catching_panics",
    "try_tokenizer",
]
