"""What is used of torch, executorch, torchao and transformers beside their public APIs.

Each library has a module; each name in it says what it is for. They are looked up where they are
used: without one that is gone a speed-up is left out, with one warning, and what a right program
needs is refused in one line.
"""

from .names import TESTED, GoneError, Name, slower, speedups

__all__ = ["TESTED", "GoneError", "Name", "slower", "speedups"]
