"""Settings that several methods take, refused before any work if they cannot be meant."""

import math

from ..errors import MergeError


def check_rank(rank: int | None) -> None:
    """Refuse a rank below 1; None stands for a method's default."""
    if rank is not None and rank < 1:
        raise MergeError(f"rank is {rank}, expected at least 1")


def check_clusters(clusters: int, tasks: int) -> None:
    """Refuse K outside 1..T."""
    if not 1 <= clusters <= tasks:
        raise MergeError(f"clusters is {clusters}, expected 1 to {tasks}, the number of adapters")


def check_density(density: float) -> None:
    """Refuse a share of entries to keep outside (0, 1]."""
    if not 0 < density <= 1:
        raise MergeError(f"density is {density}, expected above 0 and at most 1")


def check_seed(seed: int) -> None:
    """Refuse a negative seed."""
    if seed < 0:
        raise MergeError(f"seed is {seed}, expected at least 0")


def check_training(steps: int, rate: float, batch: int, seed: int) -> None:
    """Refuse a training of no steps or no examples, and a rate that is no positive number."""
    for name, value in (("steps", steps), ("batch", batch)):
        if value < 1:
            raise MergeError(f"{name} is {value}, expected at least 1")
    if not 0 < rate < math.inf:
        raise MergeError(f"rate is {rate}, expected above 0")
    check_seed(seed)
