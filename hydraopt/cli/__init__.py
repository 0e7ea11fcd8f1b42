"""The ``hydraopt`` command, one module per group of commands.

A command parses options, calls the library and prints. torch, transformers and executorch take
seconds to import, so commands import the library inside their functions.
"""

from .app import main

__all__ = ["main"]
