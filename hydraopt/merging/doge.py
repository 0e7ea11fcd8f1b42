"""DOGE (arXiv 2501.01230): one model; deltas are moved towards each other, then summed.

1. ``l_t = scale / ||D_t||``, per module.
2. Shared basis P: the first ``min(out, in) // 6`` left singular vectors of ``[U_1 … U_T]``, with
   U_t the first ``min(out, in) // T`` left singular vectors of D_t.
3. A common change X ``[out, in]`` brings the merged model close to each task along that task's
   rows. It minimises ``sum_t sum_rows <D_t, D_t - sum_s l_s (D_s + X)>²`` with Adam from zero and
   gradients projected off P. The number of steps matters: X stays small, far from the minimum.
4. ``D = sum_t l_t M_t * (D_t + X)``, where M_t keeps the ``density`` largest magnitudes of ``D_t``.

Steps 2 and 3 follow the public implementation by one of the authors (FusionBench). M_t is chosen
per module, as in ``ties``, rather than over the whole model. Gradients come from the factors, but X
is dense because Adam updates its entries, which makes this by far the slowest data-free method. The
result is truncated to ``rank`` by SVD and the relative error reported.
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


@merging_method(name=NAME, paper="DOGE, arXiv 2501.01230", storage="m n")
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
        scale: norm of each task's contribution to a module, before trimming. The paper's 0.07 is
            for vision models; LoRA deltas of language models often have norms above 1.
        density: share of a delta's entries to keep, in (0, 1].
        steps: number of Adam steps per module.
        rank: rank of the result; defaults to ``min(out, in, sum of ranks)``.

    Raises:
        MergeError: ``density`` is outside (0, 1], ``steps`` outside 0 to a million, or ``rank``
            below 1.
    """
    check_density(density)
    if not 0 <= steps <= MOST_STEPS:
        raise MergeError(f"steps is {steps}, expected 0 to {MOST_STEPS:,}")

    def merge(adapters: AdapterSet, module: str) -> torch.Tensor:
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
    """Return P ``[out, k]``, with orthonormal columns."""
    smaller = min(owned[0].shape)
    share = max(1, smaller // tasks)
    stacked = torch.cat([svd(x).u[:, :share] for x in owned], dim=1)
    return torch.linalg.svd(stacked, full_matrices=False).U[:, : max(1, smaller // SUBSPACE)]


def common_change(
    owned: list[Factors], weights: torch.Tensor, basis: torch.Tensor, steps: int
) -> torch.Tensor:
    """Return X ``[out, in]`` after ``steps`` Adam steps."""
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
