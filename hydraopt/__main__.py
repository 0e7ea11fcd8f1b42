"""``python -m hydraopt``: the command line."""

from .cli import main

main()
