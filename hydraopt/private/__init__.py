"""Private APIs of torch, executorch, torchao and transformers, one module per library.

Every name states its purpose and is looked up when used. If a name is gone, a speed-up is skipped
with one warning, and what correctness needs raises an error of one line.
"""

from .names import TESTED, GoneError, Name, slower, speedups

__all__ = ["TESTED", "GoneError", "Name", "slower", "speedups"]
