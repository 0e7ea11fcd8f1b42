"""`hydraopt recipe modernbert`, from a clone."""

from hydraopt.cli import main

main("recipe", "modernbert")
