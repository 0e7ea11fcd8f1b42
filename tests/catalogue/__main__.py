"""``python -m catalogue``: wrong inputs by group, tried and held; flipped bits; kills."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything reads it

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from .flips import flips
from .kills import WRITERS, kill
from .table import GROUPS, failures
from .world import build


def main() -> None:
    """Print what was asked for; exit code 1 if anything does not hold."""
    parser = argparse.ArgumentParser(prog="catalogue", description=__doc__)
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(GROUPS)}; all by default")
    parser.add_argument("--world", type=Path, help="keep what the cases are about here")
    parser.add_argument("--flips", action="store_true", help="flip every bit of a manifest")
    parser.add_argument("--kills", type=int, help="kill so often every command that writes")
    parser.add_argument("--writers", default=",".join(WRITERS), help="kill these only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        world = given.world or Path(directory) / "world"
        if not world.exists():
            build(world)
        if given.flips:
            holds = _flips(world)
        elif given.kills:
            holds = _kills(given.writers.split(","), given.kills, world)
        else:
            holds = _table(given.groups or list(GROUPS), world, Path(directory) / "scratch")
    sys.exit(not holds)


def _table(groups: Sequence[str], world: Path, scratch: Path) -> bool:
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
    return totals[0] == totals[1]


def _flips(world: Path) -> bool:
    tried, accepted = flips(world / "bundle")
    print(f"{tried:,} bits of a manifest flipped, {len(accepted):,} accepted")
    return not accepted


def _kills(writers: Sequence[str], count: int, world: Path) -> bool:
    print(f"{'command':12}{'kills':>7}{'old':>7}{'new':>7}{'lost':>7}")
    holds = True
    for name in writers:
        killed = kill(name, count, world)
        holds = holds and not killed.lost
        figures = killed.tried, killed.old, killed.new, len(killed.lost)
        print(f"{name:12}" + "".join(f"{figure:7,}" for figure in figures), flush=True)
        for line in killed.lost[:5]:
            print(f"  {line[:1000]}")
    return holds


if __name__ == "__main__":
    main()
