"""DARE (arXiv 2311.03099): drop random entries of the deltas, rescale the rest, then merge.

``D~_t = M_t * D_t / density`` with ``M_t`` Bernoulli(density) per entry (the paper's drop rate p is
``1 - density``), so that ``E D~_t = D_t``. The result goes to Task Arithmetic,
``scale * sum_t D~_t``, or to TIES. As in PEFT, dropping replaces TIES's trimming; the authors' code
does both. The merge is dense: it is truncated to ``rank`` by SVD and the relative error reported.
"""

import zlib
from collections.abc import Callable, Iterator

import numpy as np
import torch

from ..adapters import AdapterSet
from ..stored import MergedAdapters
from .assemble import merge_modules
from .checks import check_density, check_seed
from .elementwise import deltas, disjoint_mean
from .registry import merging_method

DARE = "dare"
DARE_TIES = "dare-ties"


@merging_method(name=DARE, paper="DARE, arXiv 2311.03099", storage="m n")
def dare(
    adapters: AdapterSet,
    *,
    density: float = 0.2,
    scale: float = 0.3,
    rank: int | None = None,
    seed: int = 0,
) -> MergedAdapters:
    """Merge into one A and one B per module: DARE, then Task Arithmetic.

    Args:
        adapters: T adapters, of any ranks and target modules.
        density: share of entries to keep, in (0, 1]; KnOTS's authors use 0.2 for adapters of
            Llama 3 8B.
        scale: weight of every task.
        rank: rank of the result; defaults to ``min(out, in, sum of ranks)``.
        seed: seed for the masks, which otherwise depend only on the task's and module's names.

    Raises:
        MergeError: ``density`` is outside (0, 1], ``rank`` below 1 or ``seed`` below 0.
    """
    return _merge(DARE, sum, adapters, density, scale, rank, seed)


@merging_method(name=DARE_TIES, paper="DARE, arXiv 2311.03099", storage="m n")
def dare_ties(
    adapters: AdapterSet,
    *,
    density: float = 0.2,
    scale: float = 1.0,
    rank: int | None = None,
    seed: int = 0,
) -> MergedAdapters:
    """Merge into one A and one B per module: DARE, then TIES's election and disjoint mean.

    Args and errors as for :func:`dare`, but ``scale`` weights the merged delta. The disjoint mean
    ignores dropped entries, so rescaling makes it ``1 / density`` times as large.
    """
    return _merge(DARE_TIES, disjoint_mean, adapters, density, scale, rank, seed)


def _merge(
    method: str,
    combine: Callable[[Iterator[torch.Tensor]], torch.Tensor],
    adapters: AdapterSet,
    density: float,
    scale: float,
    rank: int | None,
    seed: int,
) -> MergedAdapters:
    """Merge by ``scale * combine(dropped deltas)``."""
    check_density(density)
    check_seed(seed)

    def merge(adapters: AdapterSet, module: str) -> torch.Tensor:
        return scale * combine(dropped_deltas(adapters, module, density, seed))

    settings = {"density": density, "scale": scale, "seed": seed}
    return merge_modules(method, adapters, merge, rank, settings)


def dropped_deltas(
    adapters: AdapterSet, module: str, density: float, seed: int
) -> Iterator[torch.Tensor]:
    """Yield each task's delta of one module, dropped and rescaled."""
    for task, x in zip(adapters.tasks, deltas(adapters, module), strict=True):
        names = [zlib.crc32(name.encode()) for name in (task, module)]
        draws = np.random.default_rng([seed, *names]).random(x.shape, dtype=np.float32)
        yield x * (torch.from_numpy(draws) < density) / density
