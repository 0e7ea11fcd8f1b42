"""`hydraopt recipe minilm`, from a clone."""

from hydraopt.cli import main

main("recipe", "minilm")
