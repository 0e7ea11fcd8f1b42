"""`hydraopt recipe qwen2`, from a clone."""

from hydraopt.cli import main

main("recipe", "qwen2")
