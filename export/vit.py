"""`hydraopt recipe vit`, from a clone."""

import sys

from hydraopt.cli import main

sys.argv[1:1] = ["recipe", "vit"]
main()
