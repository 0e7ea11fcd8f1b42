"""`hydraopt recipe qwen3`, from a clone."""

import sys

from hydraopt.cli import main

sys.argv[1:1] = ["recipe", "qwen3"]
main()
