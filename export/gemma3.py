"""`hydraopt recipe gemma3`, from a clone."""

import sys

from hydraopt.cli import main

sys.argv[1:1] = ["recipe", "gemma3"]
main()
