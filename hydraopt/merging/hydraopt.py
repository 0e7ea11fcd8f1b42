"""HydraOpt (arXiv 2507.17706): one shared A and K B's per module.

Minimises ``F = sum_t ||D_t - B_k(t) A||^2``, summed over modules, over the A's, the B's and the
assignment k. For a given assignment with clusters of ``W_k`` tasks and means ``M_k``, the optimum
has a closed form: A holds the top R right singular vectors of the stacked ``sqrt(W_k) M_k``, and
``B_k = M_k Aᵀ``. Lloyd iterations (k-means of the deltas projected onto A) then update the
assignment and never increase F. The objective is inferred from the paper's abstract; its code is
not public.

All modules use one assignment, so tasks of a cluster are identical and share one pack file. On the
zoo this also preserves more quality than one assignment per module up to K = T/2, and less near
K = T.

The soft dictionary replaces the assignment by weights: ``D_t ~ (sum_k w_tk B_k) A``. For a given A
the best weights come from a truncated eigendecomposition of the tasks' Gram matrix, so the result
is never worse than the assignment it starts from. Its B's are mixed when packs are written, one
pack per task.
"""

import logging
from dataclasses import replace

import torch

from ..adapters import AdapterSet, each_module
from ..factors import Coordinates, Stack, balanced
from ..stored import MergedAdapters, Side
from .assemble import assemble
from .checks import check_clusters, check_rank, check_seed
from .clustering import cluster, refine
from .registry import merging_method

HYDRAOPT = "hydraopt"
AVERAGE = "average"

logger = logging.getLogger(__name__)

MAX_STEPS = 20


@merging_method(
    name=HYDRAOPT, paper="HydraOpt, arXiv 2507.17706", per_task=True, storage="R n + K R m"
)
def hydraopt(
    adapters: AdapterSet,
    *,
    clusters: int | None = None,
    rank: int | None = None,
    soft: bool = False,
    seed: int = 0,
) -> MergedAdapters:
    """Merge into one shared ``A [R, in]`` and K ``B [out, R]`` per module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        clusters: K, the number of B's per module; defaults to T. Equal tasks may leave fewer.
        rank: R; defaults to the adapters' largest rank, and is limited by the rank of a module's
            stacked factors.
        soft: let every task mix all K B's instead of using one.
        seed: seed for the k-means restarts.

    Raises:
        MergeError: ``clusters`` is not in 1..T, ``rank`` below 1 or ``seed`` below 0.
    """
    tasks = len(adapters.tasks)
    clusters = tasks if clusters is None else clusters
    rank = adapters.max_rank if rank is None else rank
    check_clusters(clusters, tasks)
    check_rank(rank)
    check_seed(seed)
    labels = assign(adapters, clusters, rank, seed)
    modules = each_module(
        adapters,
        lambda alone, module: _merge_module(alone.stack(module), labels, rank, soft),
        "merge",
    )
    settings = {"clusters": _count(labels), "rank": rank, "soft": soft, "seed": seed}
    return assemble(HYDRAOPT, adapters, modules, settings)


@merging_method(name=AVERAGE, paper="HydraOpt with K = 1", storage="R (m + n)")
def average(adapters: AdapterSet, *, rank: int | None = None) -> MergedAdapters:
    """Merge into one adapter: the mean delta, truncated to ``rank`` by SVD (HydraOpt's K = 1).

    Averaging deltas rather than A and B separately avoids cross terms.

    Raises:
        MergeError: ``rank`` is below 1.
    """
    merged = hydraopt(adapters, clusters=1, rank=rank)
    return replace(merged, method=AVERAGE, settings={"rank": merged.settings["rank"]})


def assign(adapters: AdapterSet, clusters: int, rank: int, seed: int) -> torch.Tensor:
    """Assign each task to one of K B's; returns labels ``[T]`` in 0..K-1 for all modules.

    Runs k-means on the tasks' Gram matrix, then Lloyd iterations on its projection onto the
    shared A's.
    """
    tasks = len(adapters.tasks)
    if clusters == tasks:
        return torch.arange(tasks)
    if clusters == 1:
        return torch.zeros(tasks, dtype=torch.int64)
    # sort by name, so that the seeded restarts do not depend on the order of the tasks
    order = sorted(range(tasks), key=lambda task: adapters.tasks[task])
    ordered = AdapterSet(adapters.adapters[task] for task in order)
    found = each_module(
        ordered,
        lambda alone, module: Coordinates(tasks, alone.stack(module)),
        "compare",
    )
    modules = found.values()
    labels = cluster(sum(module.task_gram() for module in modules), clusters, seed)
    for _ in range(MAX_STEPS):
        mixing = _orthonormal(labels)
        seen = sum(module.task_gram(module.stack.best_right(mixing, rank)) for module in modules)
        improved = refine(seen, labels)
        if torch.equal(improved, labels):
            break
        labels = improved
    logger.info("clusters: %s", _masses(labels).int().tolist())
    return labels[torch.tensor(order).argsort()]


def _merge_module(stack: Stack, labels: torch.Tensor, rank: int, soft: bool) -> tuple[Side, Side]:
    mixing = _orthonormal(labels)
    if soft and 1 < _count(labels) < len(labels):
        mixing = _soften(Coordinates(len(labels), stack), mixing, rank)
        weights, assignment = mixing, mixing
    else:
        weights, assignment = mixing / _masses(labels).sqrt(), labels
    a, b = balanced(*stack.factors(weights, stack.best_right(mixing, rank)))
    return Side.shared(a, len(labels)), Side(b, assignment)


def _soften(coordinates: Coordinates, mixing: torch.Tensor, rank: int) -> torch.Tensor:
    """Optimise A and the orthonormal weights ``[T, K]`` in turns; return the weights."""
    for _ in range(MAX_STEPS):
        gram = coordinates.task_gram(coordinates.stack.best_right(mixing, rank))
        mixing = torch.linalg.eigh(gram).eigenvectors.flip(1)[:, : mixing.shape[1]]
    return mixing


def _count(labels: torch.Tensor) -> int:
    return int(labels.max()) + 1


def _masses(labels: torch.Tensor) -> torch.Tensor:
    """Return the number of tasks per cluster, ``[K]`` float64."""
    return torch.bincount(labels).double()


def _orthonormal(labels: torch.Tensor) -> torch.Tensor:
    """Return orthonormal columns ``[T, K]``: ``1 / sqrt(W_k)`` for the members of cluster k."""
    members = torch.nn.functional.one_hot(labels).double()
    return members / _masses(labels).sqrt()
