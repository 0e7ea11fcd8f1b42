"""`hydraopt recipe gemma3`, from a clone."""

from hydraopt.cli import main

main("recipe", "gemma3")
