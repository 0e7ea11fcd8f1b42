"""Merge sparse adapters (arXiv 2507.07140), or project one to LoRA factors.

Per entry: ``D = alpha * sum_t D_t / max(1, number of tasks with nonzero D_t)``. The result is again
sparse, with the union of the tasks' entries.
"""

import math
from collections import Counter
from collections.abc import Sequence

import torch

from ..errors import AdapterError, MergeError
from ..factors import Factors, cut
from ..progress import progress
from ..sparse import SparseAdapter, SparseDelta


def merge_sparse(adapters: Sequence[SparseAdapter], *, alpha: float = 1.0) -> SparseAdapter:
    """Merge sparse adapters into one for all their tasks.

    Args:
        adapters: sparse adapters of one base model; their modules may differ.
        alpha: weight of the merged delta; 1 in the paper.

    Raises:
        AdapterError: no adapters, different base models or shapes, or a repeated task.
        MergeError: ``alpha`` is not finite.
    """
    if not math.isfinite(alpha):
        raise MergeError(f"alpha is {alpha}, expected a finite number")
    tasks = _checked_tasks(adapters)
    names = sorted({name for adapter in adapters for name in adapter.modules})
    modules = {}
    for name in progress(names, "merge"):
        deltas = [adapter.modules[name] for adapter in adapters if name in adapter.modules]
        modules[name] = _merge_module(name, deltas, alpha)
    return SparseAdapter(adapters[0].base_model, tasks, modules, {"alpha": alpha})


def project(adapter: SparseAdapter, rank: int) -> tuple[dict[str, Factors], float]:
    """Return the nearest factors of a rank, by SVD per module, and the overall relative error.

    Raises:
        MergeError: ``rank`` is below 1.
    """
    if rank < 1:
        raise MergeError(f"rank is {rank}, expected at least 1")
    modules = progress(adapter.modules.items(), "project")
    cuts = {name: cut(delta.dense(), min(rank, *delta.shape)) for name, delta in modules}
    energy = sum(x.energy for x in cuts.values())
    error = math.sqrt(sum(x.lost for x in cuts.values()) / energy) if energy else 0.0
    return {name: x.factors for name, x in cuts.items()}, error


def _merge_module(name: str, deltas: Sequence[SparseDelta], alpha: float) -> SparseDelta:
    shape = deltas[0].shape
    if any(delta.shape != shape for delta in deltas):
        shapes = sorted({delta.shape for delta in deltas})
        raise AdapterError(f"{name} has shapes {shapes}, expected one; use adapters of one base")
    total, count = torch.zeros(shape), torch.zeros(shape)
    for delta in deltas:
        dense = delta.dense()
        total += dense
        count += dense != 0
    mask = count > 0
    return SparseDelta.from_dense(
        alpha * total / count.clamp_min(1), mask, block=all(delta.block for delta in deltas)
    )


def _checked_tasks(adapters: Sequence[SparseAdapter]) -> tuple[str, ...]:
    if not adapters:
        raise AdapterError("no sparse adapters given, expected at least one directory")
    bases = sorted({adapter.base_model for adapter in adapters})
    if len(bases) > 1:
        raise AdapterError(f"adapters of base models {', '.join(bases)}, expected one base model")
    tasks = tuple(task for adapter in adapters for task in adapter.tasks)
    name, count = Counter(task.casefold() for task in tasks).most_common(1)[0]
    if count > 1:
        raise AdapterError(f"task {name!r} occurs {count} times, expected each task once")
    return tasks
