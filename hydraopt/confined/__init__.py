"""Tokenizers and chat templates of strangers, in processes of their own.

Both are programs: they need not end, can take all memory or abort the process that runs them.
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
