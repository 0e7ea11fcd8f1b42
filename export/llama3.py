"""`hydraopt recipe llama3`, from a clone."""

from hydraopt.cli import main

main("recipe", "llama3")
