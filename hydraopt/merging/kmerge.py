"""K-Merge (arXiv 2510.13537): adapters arrive one by one, and a device stores at most K.

The first K adapters are stored as they are. Each later one joins the most similar stored adapter,
where similarity is the cosine of two deltas, averaged over the modules that both have. The stored
adapter becomes the mean of its n members, ``(1 - 1/n) stored + (1/n) new``. With a threshold
(K-Merge++), an adapter also joins one that is at least that similar while fewer than K are stored.

Deltas are averaged, and the mean is truncated to ``rank`` by SVD after every arrival, because the
device keeps only the K results. The authors' code averages A and B separately, which adds cross
terms. Everything else is exact in factor space.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..adapters import AdapterSet
from ..errors import MergeError
from ..factors import Factors, cut, inner
from ..progress import progress
from ..stored import MergedAdapters, stacked
from .assemble import assemble
from .checks import check_clusters, check_rank
from .registry import merging_method

NAME = "kmerge"

logger = logging.getLogger(__name__)


@dataclass
class StoredAdapter:
    """The mean of ``members`` adapters."""

    factors: dict[str, Factors]
    members: int = 1


@merging_method(name=NAME, paper="K-Merge, arXiv 2510.13537", per_task=True, storage="K R (m + n)")
def kmerge(
    adapters: AdapterSet,
    *,
    clusters: int | None = None,
    threshold: float | None = None,
    rank: int | None = None,
) -> MergedAdapters:
    """Merge into K adapters, each shared by the tasks that joined it.

    Args:
        adapters: T adapters in order of arrival, of any ranks and target modules.
        clusters: K, the maximum number of stored adapters; defaults to T / 5, rounded up, the
            largest share in the paper (8 of 40).
        threshold: similarity in [-1, 1] at which an adapter joins a stored one even while fewer
            than K are stored; None disables this. The authors use 0.02 for K-Merge++.
        rank: rank of the stored adapters; defaults to the adapters' largest rank.

    Raises:
        MergeError: ``clusters`` is not in 1..T, ``threshold`` outside [-1, 1] or ``rank`` below 1.
    """
    tasks = len(adapters.tasks)
    check_rank(rank)
    size, count = rank or adapters.max_rank, -(-tasks // 5) if clusters is None else clusters
    check_clusters(count, tasks)
    if threshold is not None and not -1 <= threshold <= 1:
        raise MergeError(f"threshold is {threshold}, a cosine, expected -1 to 1")
    stored: list[StoredAdapter] = []
    labels = []
    for adapter in progress(adapters.adapters, "merge"):
        alike = [similarity(adapter.factors, other.factors) for other in stored]
        best = max(range(len(stored)), key=alike.__getitem__, default=None)
        joins = threshold is not None and best is not None and alike[best] >= threshold
        if best is None or (len(stored) < count and not joins):
            best = len(stored)
            factors = {m: cut(f, size).factors for m, f in adapter.factors.items()}
            stored.append(StoredAdapter(factors))
        else:
            stored[best] = join(stored[best], adapter.factors, size)
        labels.append(best)
    logger.info("members: %s", [mean.members for mean in stored])
    assignment = torch.tensor(labels)
    sides = {
        module: stacked(
            [mean.factors.get(module, Factors.zero(shape)) for mean in stored], assignment
        )
        for module, shape in adapters.shapes.items()
    }
    settings = {"clusters": len(stored), "threshold": threshold, "rank": size}
    return assemble(NAME, adapters, sides, settings)


def similarity(one: Mapping[str, Factors], other: Mapping[str, Factors]) -> float:
    """Return the mean cosine of two adapters' deltas over their common modules; 0 without any."""
    cosines = [cosine(one[module], other[module]) for module in one.keys() & other.keys()]
    return sum(cosines) / max(len(cosines), 1)


def cosine(x: Factors, y: Factors) -> float:
    """Return the cosine of two deltas, from their factors; 0 if either is zero."""
    norms = (inner(x, x) * inner(y, y)) ** 0.5
    return inner(x, y) / norms if norms else 0.0


def join(mean: StoredAdapter, new: Mapping[str, Factors], rank: int) -> StoredAdapter:
    """Add an adapter to a mean, truncated to ``rank``; an absent module is a zero delta."""
    weight = 1 / (mean.members + 1)
    factors = {}
    for module in sorted(mean.factors.keys() | new.keys()):
        parts = [
            Factors(part[module].a, share * part[module].b)
            for part, share in ((mean.factors, 1 - weight), (new, weight))
            if module in part
        ]
        a, b = torch.cat([x.a for x in parts]), torch.cat([x.b for x in parts], dim=1)
        factors[module] = cut(Factors(a, b), rank).factors
    return StoredAdapter(factors, mean.members + 1)
