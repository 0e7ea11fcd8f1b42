"""`hydraopt recipe qwen3`, from a clone."""

from hydraopt.cli import main

main("recipe", "qwen3")
