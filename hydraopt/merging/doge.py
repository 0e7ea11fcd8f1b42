"""DOGE (arXiv 2501.01230): one model; the deltas are moved towards each other, then added.

1. ``l_t = scale / ||D_t||``, per module.
2. Shared basis P: the first ``min(out, in) // 6`` left singular vectors of ``[U_1 … U_T]``, with
   U_t the first ``min(out, in) // T`` left singular vectors of D_t.
3. A common change X ``[out, in]`` brings the merged model close to each task along that task's
   own rows: it minimises ``sum_t sum_rows <D_t, D_t - sum_s l_s (D_s + X)>²`` by Adam from zero,
   with the gradient projected off P. The number of steps matters: X stays small, and the minimum
   is far away.
4. ``D = sum_t l_t M_t * (D_t + X)``, M_t keeping the ``density`` largest magnitudes of ``D_t``.

Steps 2 and 3 are as in the public implementation by one of the authors (FusionBench). M_t is made
per module, as in ``ties``; there, over the whole model. The gradient is formed from the factors; X
is dense, since Adam works on its entries: by far the slowest of the data-free methods. The result
is cut to ``rank`` by SVD, and the relative error is reported.
"""

import torch

from ..adapters import AdapterSet
from ..errors import MergeError
from ..factors import Factors, inner, svd
from ..stored import MergedAdapters
from ..training.loop import MOST_STEPS
from .assemble import merge_modules
from .checks import check_density
from .elementwise import keep_largest
from .registry import merging_method

NAME = "doge"

SUBSPACE, LEARNING_RATE = 6, 1e-4


@merging_method(
    name=NAME,
    paper="DOGE, arXiv 2501.01230",
    per_task=False,
    needs="nothing",
    storage="m n",
)
def doge(
    adapters: AdapterSet,
    *,
    scale: float = 0.07,
    density: float = 0.3,
    steps: int = 400,
    rank: int | None = None,
) -> MergedAdapters:
    """Merge into one A and one B per module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        scale: norm of every task's contribution to a module, before trimming. The paper's 0.07 is
            for vision models; LoRA deltas of language models are often longer than 1.
        density: share of entries of a delta that are added, in (0, 1].
        steps: of Adam, per module.
        rank: of the result; by default ``min(out, in, sum of ranks)``.

    Raises:
        MergeError: ``density`` outside (0, 1], ``steps`` outside 0 to a million, or ``rank`` below
            1.
    """
    check_density(density)
    if not 0 <= steps <= MOST_STEPS:
        raise MergeError(f"steps is {steps}, expected 0 to {MOST_STEPS:,}")

    def merge(module: str) -> torch.Tensor:
        owned = [x.factors[module] for x in adapters.adapters if module in x.factors]
        owned = [x for x in owned if inner(x, x) > 0]
        if not owned:
            return torch.zeros(adapters.shapes[module])
        weights = torch.tensor([scale / inner(x, x) ** 0.5 for x in owned])
        basis = shared_basis(owned, len(adapters.tasks))
        change = common_change(owned, weights, basis, steps)
        merged = torch.zeros_like(change)
        for weight, (a, b) in zip(weights, owned, strict=True):
            delta = b @ a
            merged += weight * keep_largest(delta, density) * (delta + change)
        return merged

    settings = {"scale": scale, "density": density, "steps": steps}
    return merge_modules(NAME, adapters, merge, rank, settings)


def shared_basis(owned: list[Factors], tasks: int) -> torch.Tensor:
    """P ``[out, k]``, orthonormal columns."""
    smaller = min(owned[0].shape)
    share = max(1, smaller // tasks)
    stacked = torch.cat([svd(x).u[:, :share] for x in owned], dim=1)
    return torch.linalg.svd(stacked, full_matrices=False).U[:, : max(1, smaller // SUBSPACE)]


def common_change(
    owned: list[Factors], weights: torch.Tensor, basis: torch.Tensor, steps: int
) -> torch.Tensor:
    """X ``[out, in]``, after ``steps`` steps of Adam."""
    a, b = torch.cat([x.a for x in owned]), torch.cat([x.b for x in owned], dim=1)
    owner = torch.cat([torch.full((len(x.a),), task) for task, x in enumerate(owned)])

    def along(products: torch.Tensor) -> torch.Tensor:
        """``<D_t, Y>`` per row and task ``[out, T]`` from ``products = Y aᵀ``."""
        return b.new_zeros(len(b), len(owned)).index_add_(1, owner, b * products)

    gram = a @ a.T
    own = gram * (owner[:, None] == owner)
    target = along(b @ own - (b * weights[owner]) @ gram)  # <D_t, D_t - sum_s l_s D_s>
    total = weights.sum()
    change = torch.zeros(len(b), a.shape[1])
    adam = torch.optim.Adam([change], lr=LEARNING_RATE, fused=True)
    for _ in range(steps):
        left = target - total * along(change @ a.T)
        pull = -2 * total * left[:, owner] * b
        change.grad = (pull - basis @ (basis.T @ pull)) @ a
        adam.step()
    return change
