"""One module's T deltas in coordinates, so that no dense ``[out, in]`` matrix is ever formed.

With all A's stacked, ``A = C Qᵀ`` (``Q [in, p]`` orthonormal, ``p <= min(N, in)``, N the sum of
ranks), task t's delta is ``D_t = B_t C_t Qᵀ``. Everything that HydraOpt needs is a function of
``C [N, p]`` and of the Gram matrix ``BᵀB [N, N]``.
"""

from dataclasses import dataclass

import torch

from ..adapters import AdapterSet


@dataclass(frozen=True)
class Coordinates:
    """All tasks' deltas of one module, float64.

    ``owner [N]`` is the task of each rank-one term, ``b [out, N]``, ``gram_b [N, N]``,
    ``coords [N, p]`` and ``basis [p, in]`` as in the module's docstring.
    """

    tasks: int
    owner: torch.Tensor
    b: torch.Tensor
    gram_b: torch.Tensor
    coords: torch.Tensor
    basis: torch.Tensor

    @classmethod
    def of(cls, adapters: AdapterSet, module: str) -> "Coordinates":
        """Collect ``module`` from all adapters; one that lacks it has delta zero."""
        owned = [
            (task, adapter.factors[module])
            for task, adapter in enumerate(adapters.adapters)
            if module in adapter.factors
        ]
        owner = torch.cat([torch.full((len(f.a),), task) for task, f in owned])
        a = torch.cat([f.a for _, f in owned]).double()
        b = torch.cat([f.b for _, f in owned], dim=1).double()
        if len(a) < a.shape[1]:
            q, r = torch.linalg.qr(a.T)
            coords, basis = r.T, q.T
        else:
            coords, basis = a, torch.eye(a.shape[1], dtype=a.dtype)
        return cls(len(adapters.adapters), owner, b, b.T @ b, coords, basis)

    def task_gram(self, right: torch.Tensor | None = None) -> torch.Tensor:
        """``[T, T]`` inner products ``<D_s P, D_t P>``; P projects on ``right [p, R]``, or is 1."""
        coords = self.coords if right is None else self.coords @ right
        products = self.gram_b * (coords @ coords.T)
        rows = products.new_zeros(self.tasks, len(products)).index_add_(0, self.owner, products)
        gram = rows.new_zeros(self.tasks, self.tasks).index_add_(1, self.owner, rows)
        return (gram + gram.T) / 2

    def best_right(self, mixing: torch.Tensor, rank: int) -> torch.Tensor:
        """The ``[p, R]`` orthonormal directions that keep most of the mixed deltas.

        These are the top right singular vectors of the stack of ``M_k = sum_t mixing[t, k] D_t``,
        with ``mixing [T, K]``. R is ``rank``, or p where that is smaller.
        """
        weights = (mixing @ mixing.T)[self.owner][:, self.owner]
        square = self.coords.T @ (self.gram_b * weights) @ self.coords
        return torch.linalg.eigh(square).eigenvectors.flip(1)[:, :rank]

    def lefts(self, mixing: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """``[K, out, R]``: the mixed deltas ``M_k`` seen through ``right``."""
        terms = self.coords @ right
        return torch.stack([(self.b * weight[self.owner]) @ terms for weight in mixing.T])
