"""The T deltas of a module in coordinates, without forming a dense ``[out, in]`` matrix.

Stack all A's and write ``A = C Q``, with orthonormal rows ``Q [p, in]``, ``p = min(N, in)`` and N
the sum of ranks; then task t's delta is ``D_t = B_t C_t Q``. Assignments of tasks depend on
``C [N, p]`` and the Gram matrix ``BᵀB [N, N]`` alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from .factors import Factors


@dataclass(frozen=True)
class Stack:
    """All tasks' factors of one module, float64.

    Attributes:
        owner: task of each row of ``a``, int64 ``[N]``; a task without the module has no row.
        a: all A's, ``[N, in]``.
        b: all B's, ``[out, N]``.
    """

    owner: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor

    @classmethod
    def of(cls, owned: Sequence[tuple[int, Factors]]) -> "Stack":
        """Stack pairs of a task's number and its factors."""
        return cls(
            torch.cat([torch.full((len(f.a),), task) for task, f in owned]),
            torch.cat([f.a for _, f in owned]).double(),
            torch.cat([f.b for _, f in owned], dim=1).double(),
        )

    @cached_property
    def transposed(self) -> "Stack":
        """Return the stack of the transposed deltas, ``D_tᵀ = A_tᵀ B_tᵀ``."""
        return Stack(self.owner, self.b.T, self.a.T)

    @cached_property
    def split_a(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``C [N, p]`` and ``Q [p, in]`` with orthonormal rows such that ``a = C Q``."""
        rows, columns = self.a.shape
        if rows >= columns:
            return self.a, torch.eye(columns, dtype=self.a.dtype)
        q, r = torch.linalg.qr(self.a.T)
        return r.T, q.T

    def factors(
        self, weights: torch.Tensor, right: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Project weighted sums of the deltas on ``right [p, R]``; ``weights`` is ``[T, K]``.

        Returns:
            A ``[R, in]`` with orthonormal rows, and B ``[K, out, R]`` of the K sums
            ``sum_t weights[t, k] D_t``.
        """
        coords, basis = self.split_a
        terms = coords @ right
        lefts = [b @ terms[used] for used, b in self._mixed(weights)]
        return right.T @ basis, torch.stack(lefts)

    def squared_norms(self, tasks: int) -> torch.Tensor:
        """Return ``||D_t||²`` of ``tasks`` tasks, ``[T]``."""
        norms = self.b.new_zeros(tasks)
        for task in self.owner.unique():
            own = self.owner == task
            a, b = self.a[own], self.b[:, own]
            norms[task] = ((b.T @ b) * (a @ a.T)).sum()
        return norms

    def second_moment(self, mixing: torch.Tensor) -> torch.Tensor:
        """Return ``sum_k M_kᵀ M_k`` of ``M_k = sum_t mixing[t, k] D_t`` in coordinates, ``[p, p]``.

        Only products inside of a sum are formed: with one sum for each task the time and memory
        are linear in their number.
        """
        coords = self.split_a[0]
        products, total = torch.zeros_like(coords), 0.0
        for used, b in self._mixed(mixing):
            own = coords[used]
            if len(own) < len(b):
                products[used] += (b.T @ b) @ own
            else:
                mixed = b @ own
                total = total + mixed.T @ mixed
        return coords.T @ products + total

    def _mixed(self, mixing: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield for each sum which columns of B it uses, bool ``[N]``, and them with weights."""
        for column in mixing.T:
            weights = column[self.owner]
            used = weights != 0
            yield used, self.b[:, used] * weights[used]

    def best_right(self, mixing: torch.Tensor, rank: int) -> torch.Tensor:
        """Return the orthonormal ``[p, R]`` basis that keeps most energy of the mixed deltas.

        It consists of the top right singular vectors of the stacked ``M_k = sum_t mixing[t, k]
        D_t``, with ``mixing [T, K]`` and R = min(``rank``, p).
        """
        return torch.linalg.eigh(self.second_moment(mixing)).eigenvectors.flip(1)[:, :rank]


@dataclass(frozen=True)
class Coordinates:
    """The input of an assignment for one module: a stack of T tasks."""

    tasks: int
    stack: Stack

    @cached_property
    def gram_b(self) -> torch.Tensor:
        """``BᵀB``, ``[N, N]``."""
        return self.stack.b.T @ self.stack.b

    def task_gram(self, right: torch.Tensor | None = None) -> torch.Tensor:
        """Return ``<D_s P, D_t P>``, ``[T, T]``; P projects on ``right [p, R]`` if given."""
        coords, owner = self.stack.split_a[0], self.stack.owner
        if right is not None:
            coords = coords @ right
        products = self.gram_b * (coords @ coords.T)
        rows = products.new_zeros(self.tasks, len(products)).index_add_(0, owner, products)
        gram = rows.new_zeros(self.tasks, self.tasks).index_add_(1, owner, rows)
        return (gram + gram.T) / 2
