"""``python -m catalogue``: the table of groups, tried and held."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything reads it

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

from .table import GROUPS, failures
from .world import build


def main() -> None:
    """Print the table; exit code 1 if a case does not hold."""
    parser = argparse.ArgumentParser(prog="catalogue", description=__doc__)
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(GROUPS)}; all by default")
    parser.add_argument("--world", type=Path, help="keep what the cases are about here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        world = given.world or Path(directory) / "world"
        if not world.exists():
            build(world)
        sys.exit(_table(given.groups or list(GROUPS), world, Path(directory) / "scratch"))


def _table(groups: list[str], world: Path, scratch: Path) -> bool:
    print(f"{'group':30}{'tried':>7}{'held':>7}{'seconds':>9}")
    totals = [0, 0]
    for group in groups:
        start = time.perf_counter()
        tried, failed = failures(group, world, scratch)
        held = tried - len(failed)
        totals = [totals[0] + tried, totals[1] + held]
        print(f"{group:30}{tried:7}{held:7}{time.perf_counter() - start:9.1f}", flush=True)
        for line in failed:
            print(f"  {line}")
    print(f"{'all':30}{totals[0]:7}{totals[1]:7}")
    return totals[0] != totals[1]


if __name__ == "__main__":
    main()
