"""One module's T deltas in coordinates, so that no dense ``[out, in]`` matrix is ever formed.

With all A's stacked, ``A = C Q`` (``Q [p, in]`` with orthonormal rows, ``p = min(N, in)``, N the
sum of ranks), task t's delta is ``D_t = B_t C_t Q``. All that an assignment of tasks needs is a
function of ``C [N, p]`` and of the Gram matrix ``BᵀB [N, N]``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .factors import Factors


@dataclass(frozen=True)
class Stack:
    """All tasks' factors of one module: ``a [N, in]``, ``b [out, N]``, float64.

    ``owner [N]`` is the task of each row of ``a``. A task without the module owns no row.
    """

    owner: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor

    @classmethod
    def of(cls, owned: Sequence[tuple[int, Factors]]) -> "Stack":
        """Collect factors and the number of the task that each belongs to."""
        return cls(
            torch.cat([torch.full((len(f.a),), task) for task, f in owned]),
            torch.cat([f.a for _, f in owned]).double(),
            torch.cat([f.b for _, f in owned], dim=1).double(),
        )

    def transposed(self) -> "Stack":
        """The stack of the transposed deltas, ``D_tᵀ = A_tᵀ B_tᵀ``."""
        return Stack(self.owner, self.b.T, self.a.T)

    def split_a(self) -> tuple[torch.Tensor, torch.Tensor]:
        """``C [N, p]`` and ``Q [p, in]`` with orthonormal rows, ``a = C Q``."""
        rows, columns = self.a.shape
        if rows >= columns:
            return self.a, torch.eye(columns, dtype=self.a.dtype)
        q, r = torch.linalg.qr(self.a.T)
        return r.T, q.T

    def factors(
        self, weights: torch.Tensor, right: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A ``[R, in]`` with orthonormal rows, and the B's ``[K, out, R]`` that go with it.

        B k is ``sum_t weights[t, k] D_t`` seen through ``right [p, R]``; ``weights`` is ``[T, K]``.
        """
        coords, basis = self.split_a()
        terms = coords @ right
        lefts = [(self.b * column[self.owner]) @ terms for column in weights.T]
        return right.T @ basis, torch.stack(lefts)


@dataclass(frozen=True)
class Coordinates:
    """What the assignment needs of one module: ``coords [N, p]`` and ``gram_b [N, N]``."""

    tasks: int
    owner: torch.Tensor
    gram_b: torch.Tensor
    coords: torch.Tensor

    @classmethod
    def from_stack(cls, stack: Stack, tasks: int) -> "Coordinates":
        """Reduce a module's factors of ``tasks`` tasks."""
        return cls(tasks, stack.owner, stack.b.T @ stack.b, stack.split_a()[0])

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
