"""`hydraopt recipe vit`, from a clone."""

from hydraopt.cli import main

main("recipe", "vit")
