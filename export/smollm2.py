"""`hydraopt recipe smollm2`, from a clone."""

import sys

from hydraopt.cli import main

sys.argv[1:1] = ["recipe", "smollm2"]
main()
