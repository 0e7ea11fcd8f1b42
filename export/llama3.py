"""`hydraopt recipe llama3`, from a clone."""

import sys

from hydraopt.cli import main

sys.argv[1:1] = ["recipe", "llama3"]
main()
