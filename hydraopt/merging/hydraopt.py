"""HydraOpt (arXiv 2507.17706): one shared A and K B's per module.

Minimises ``F = sum_t ||D_t - B'_k(t) A'||^2`` over A', the B's and the assignment k. For a given
assignment with clusters of ``W_k`` tasks and means ``M_k``, the optimum is closed form: A' holds
the top R right singular vectors of the stack of ``sqrt(W_k) M_k``, and ``B'_k = M_k A'^T``. The
assignment follows by Lloyd steps (k-means of the deltas seen through A'), which never increase F.
The paper's objective is inferred from its abstract; its code is not public.

The soft dictionary replaces the assignment by weights, ``D_t ~ (sum_k alpha_tk B'_k) A'``. For
given A' the best one is a truncated eigendecomposition of the tasks' Gram matrix, so it is never
worse than the assignment it starts from.
"""

import torch

from ..adapters import AdapterSet
from ..errors import MergeError
from .clustering import cluster, refine
from .coordinates import Coordinates
from .merged import MergedAdapters, Side

MAX_STEPS = 20


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
        clusters: K, the number of B's per module; the number of tasks by default.
        rank: R; the largest rank of the adapters by default. Where a module's stacked factors
            have a smaller rank, that is used.
        soft: let every task mix all K B's instead of taking one.
        seed: of the k-means restarts.

    Raises:
        MergeError: ``clusters`` not in 1..T or ``rank`` below 1.
    """
    count = len(adapters.tasks)
    clusters = count if clusters is None else clusters
    rank = adapters.max_rank if rank is None else rank
    if not 1 <= clusters <= count:
        raise MergeError(f"clusters is {clusters}, expected 1 to {count}, the number of adapters")
    if rank < 1:
        raise MergeError(f"rank is {rank}, expected at least 1")

    # The order of the tasks must not matter to the seeded restarts: work in the order of names.
    order = sorted(range(count), key=lambda task: adapters.tasks[task])
    ordered = AdapterSet(adapters.adapters[task] for task in order)
    place = torch.tensor(order).argsort()
    modules = {
        module: _merge_module(Coordinates.of(ordered, module), clusters, rank, soft, seed, place)
        for module in adapters.shapes
    }
    return MergedAdapters(
        "hydraopt",
        {"clusters": clusters, "rank": rank, "soft": soft, "seed": seed},
        adapters.base_model,
        adapters.tasks,
        modules,
        adapters.fp16_bytes,
    )


def average(adapters: AdapterSet, *, rank: int | None = None) -> MergedAdapters:
    """One adapter for all tasks: the mean delta, cut to ``rank`` by SVD. HydraOpt's K = 1.

    The deltas are averaged, not A and B apart, so there are no cross terms.

    Raises:
        MergeError: ``rank`` below 1.
    """
    merged = hydraopt(adapters, clusters=1, rank=rank)
    return MergedAdapters(
        "average",
        {"rank": merged.settings["rank"]},
        merged.base_model,
        merged.tasks,
        merged.modules,
        merged.adapter_bytes,
    )


def _merge_module(
    deltas: Coordinates, clusters: int, rank: int, soft: bool, seed: int, place: torch.Tensor
) -> tuple[Side, Side]:
    labels = cluster(deltas.task_gram(), clusters, seed)
    labels, right = _lloyd(deltas, labels, clusters, rank)
    if soft and clusters < deltas.tasks:
        of, right = _soften(deltas, _orthonormal(labels, clusters), rank)
        stack = deltas.lefts(of, right)
    else:
        of = labels
        stack = deltas.lefts(
            _orthonormal(labels, clusters) / _masses(labels, clusters).sqrt(), right
        )
    a, stack = _balanced(right.T @ deltas.basis, stack)
    return Side.shared(a, deltas.tasks), Side(stack, of[place])


def _lloyd(
    deltas: Coordinates, labels: torch.Tensor, clusters: int, rank: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Alternate the best A' for the assignment and the best assignment seen through A'."""
    for _ in range(MAX_STEPS):
        right = deltas.best_right(_orthonormal(labels, clusters), rank)
        improved = refine(deltas.task_gram(right), labels, clusters)
        if torch.equal(improved, labels):
            break
        labels = improved
    return labels, deltas.best_right(_orthonormal(labels, clusters), rank)


def _soften(
    deltas: Coordinates, mixing: torch.Tensor, rank: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Alternate the best weights ``[T, K]`` for A' and the best A' for the weights."""
    for _ in range(MAX_STEPS):
        right = deltas.best_right(mixing, rank)
        vectors = torch.linalg.eigh(deltas.task_gram(right)).eigenvectors
        mixing = vectors.flip(1)[:, : mixing.shape[1]]
    return mixing, deltas.best_right(mixing, rank)


def _masses(labels: torch.Tensor, clusters: int) -> torch.Tensor:
    """Tasks per cluster, ``[K]`` float64."""
    return torch.bincount(labels, minlength=clusters).double()


def _orthonormal(labels: torch.Tensor, clusters: int) -> torch.Tensor:
    """The assignment as orthonormal columns ``[T, K]``: ``1 / sqrt(W_k)`` for members of k."""
    members = torch.nn.functional.one_hot(labels, clusters).double()
    return members / _masses(labels, clusters).sqrt()


def _balanced(a: torch.Tensor, stack: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale A and the B's to equal root mean squares, so that neither underflows in fp16."""
    scale = (stack.pow(2).mean() / a.pow(2).mean()).clamp_min(1e-30).pow(0.25)
    return (a * scale).float(), (stack / scale).float()
