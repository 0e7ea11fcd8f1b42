"""DARE (arXiv 2311.03099): drop entries of the deltas at random, rescale the others, then merge.

``D~_t = M_t * D_t / density`` with ``M_t`` Bernoulli(density) per entry (the paper's drop rate p is
``1 - density``), so that ``E D~_t = D_t``. Then Task Arithmetic, ``scale * sum_t D~_t``, or TIES on
what is left. As in PEFT, dropping takes the place of TIES's trimming; the paper's own code trims as
well. The result is dense: it is cut to ``rank`` by SVD, and the relative error is reported.
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


@merging_method(
    name=DARE,
    paper="DARE, arXiv 2311.03099",
    per_task=False,
    needs="nothing",
    storage="m n",
)
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
        density: share of entries that are kept, in (0, 1]; 0.2 is what the authors of KnOTS use for
            adapters of Llama 3 8B.
        scale: weight of every task.
        rank: of the result; by default ``min(out, in, sum of ranks)``.
        seed: of the masks; a mask depends on nothing else but the task's and the module's name.

    Raises:
        MergeError: ``density`` outside (0, 1], ``rank`` below 1 or ``seed`` below 0.
    """
    return _merge(DARE, sum, adapters, density, scale, rank, seed)


@merging_method(
    name=DARE_TIES,
    paper="DARE, arXiv 2311.03099",
    per_task=False,
    needs="nothing",
    storage="m n",
)
def dare_ties(
    adapters: AdapterSet,
    *,
    density: float = 0.2,
    scale: float = 1.0,
    rank: int | None = None,
    seed: int = 0,
) -> MergedAdapters:
    """Merge into one A and one B per module: DARE, then TIES's election and disjoint mean.

    Args and errors as :func:`dare`; ``scale`` weights the merged delta. The disjoint mean does not
    count what was dropped, so that rescaling makes it ``1 / density`` times as large.
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
    """``scale`` times what ``combine`` makes of the dropped deltas."""
    check_density(density)
    check_seed(seed)

    def merge(module: str) -> torch.Tensor:
        return scale * combine(dropped_deltas(adapters, module, density, seed))

    settings = {"density": density, "scale": scale, "seed": seed}
    return merge_modules(method, adapters, merge, rank, settings)


def dropped_deltas(
    adapters: AdapterSet, module: str, density: float, seed: int
) -> Iterator[torch.Tensor]:
    """The tasks' deltas of one module, dropped and rescaled, made one by one."""
    for task, x in zip(adapters.tasks, deltas(adapters, module), strict=True):
        names = [zlib.crc32(name.encode()) for name in (task, module)]
        draws = np.random.default_rng([seed, *names]).random(x.shape, dtype=np.float32)
        yield x * (torch.from_numpy(draws) < density) / density
