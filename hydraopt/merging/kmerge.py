"""K-Merge (arXiv 2510.13537): adapters arrive one by one, and a device stores at most K.

While fewer are stored, a new adapter is stored by itself. After that it joins the stored one to
which it is most similar: by the cosine of their deltas, per module, averaged over the modules that
both have. The stored one becomes the mean of its n members, ``(1 - 1/n) stored + (1/n) new``. With
a threshold (K-Merge++) an adapter joins one that is at least that similar even before.

The deltas are averaged, and the mean is cut back to ``rank`` by SVD after every arrival, since a
device keeps nothing but the K. The authors' code averages A and B apart, which adds cross
terms. All of it is exact in factor space.
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


@merging_method(
    name=NAME,
    paper="K-Merge, arXiv 2510.13537",
    per_task=True,
    needs="nothing",
    storage="K R (m + n)",
)
def kmerge(
    adapters: AdapterSet,
    *,
    clusters: int | None = None,
    threshold: float | None = None,
    rank: int | None = None,
) -> MergedAdapters:
    """Merge into K adapters, each shared by the tasks that joined it.

    Args:
        adapters: T adapters in the order of their arrival, of any ranks and target modules.
        clusters: K, the most that are stored; a fifth of T by default, rounded up: the largest
            share that the paper uses (8 of 40).
        threshold: similarity from which an adapter joins a stored one even while there are fewer
            than K, in [-1, 1]; by default none does. The authors use 0.02 for K-Merge++.
        rank: of the stored adapters; the largest rank of the adapters by default.

    Raises:
        MergeError: ``clusters`` not in 1..T, ``threshold`` outside [-1, 1] or ``rank`` below 1.
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
    """Mean cosine of two adapters' deltas over the modules that both have; 0 if there are none."""
    cosines = [cosine(one[module], other[module]) for module in one.keys() & other.keys()]
    return sum(cosines) / max(len(cosines), 1)


def cosine(x: Factors, y: Factors) -> float:
    """Cosine of two deltas, from their factors; 0 if one of them is zero."""
    norms = (inner(x, x) * inner(y, y)) ** 0.5
    return inner(x, y) / norms if norms else 0.0


def join(mean: StoredAdapter, new: Mapping[str, Factors], rank: int) -> StoredAdapter:
    """The mean with one more adapter, cut to ``rank``; an absent module is a zero delta."""
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
