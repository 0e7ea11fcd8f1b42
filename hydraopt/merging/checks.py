"""Validation of settings that several methods share."""

import math

from ..errors import MergeError


def check_rank(rank: int | None) -> None:
    """Require a rank of at least 1; None means the method's default."""
    if rank is not None and rank < 1:
        raise MergeError(f"rank is {rank}, expected at least 1")


def check_clusters(clusters: int, tasks: int) -> None:
    """Require K in 1..T."""
    if not 1 <= clusters <= tasks:
        raise MergeError(f"clusters is {clusters}, expected 1 to {tasks}, the number of adapters")


def check_density(density: float) -> None:
    """Require a share of entries to keep in (0, 1]."""
    if not 0 < density <= 1:
        raise MergeError(f"density is {density}, expected above 0 and at most 1")


def check_seed(seed: int) -> None:
    """Require a seed of at least 0."""
    if seed < 0:
        raise MergeError(f"seed is {seed}, expected at least 0")


def check_training(steps: int, rate: float, batch: int, seed: int) -> None:
    """Require at least one step and one example per batch, and a positive finite rate."""
    for name, value in (("steps", steps), ("batch", batch)):
        if value < 1:
            raise MergeError(f"{name} is {value}, expected at least 1")
    if not 0 < rate < math.inf:
        raise MergeError(f"rate is {rate}, expected above 0")
    check_seed(seed)
