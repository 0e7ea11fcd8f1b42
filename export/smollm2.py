"""`hydraopt recipe smollm2`, from a clone."""

from hydraopt.cli import main

main("recipe", "smollm2")
