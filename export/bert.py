"""`hydraopt recipe bert`, from a clone."""

from hydraopt.cli import main

main("recipe", "bert")
