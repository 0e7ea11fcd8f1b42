"""The ``hydraopt`` command, one module per group of commands; nothing else imports it.

Every command parses its options, calls the library and prints. torch, transformers and executorch
take seconds to import, so that commands import the library where they use it.
"""

from .app import main

__all__ = ["main"]
