"""One module's T deltas in the bases of its stacked factors, for joint diagonalisation."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..adapters import AdapterSet, each_module
from ..factors import Stack
from ..stored import MergedAdapters, Side
from .assemble import assemble
from .checks import check_rank


@dataclass(frozen=True)
class Joint:
    """Exact decomposition ``D_t = P L_tᵀ R_t Q`` of all tasks' deltas, in float64.

    P ``[out, p]`` and Qᵀ ``[in, q]`` have orthonormal columns. ``left [N, p]`` and ``right [N, q]``
    hold the rows of all L_t and R_t in the order of ``stack``; N is the sum of the tasks' ranks.
    """

    tasks: int
    stack: Stack
    left: torch.Tensor
    right: torch.Tensor
    basis_left: torch.Tensor
    basis_right: torch.Tensor

    @classmethod
    def from_stack(cls, stack: Stack, tasks: int) -> "Joint":
        """Decompose a module's stacked factors of ``tasks`` tasks."""
        left, basis_left = stack.transposed.split_a
        right, basis_right = stack.split_a
        return cls(tasks, stack, left, right, basis_left.T, basis_right)

    @property
    def energy(self) -> float:
        """The sum of all deltas' squared norms."""
        return self.stack.squared_norms(self.tasks).sum().item()

    def start(self, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return left ``[p, R]`` and right ``[q, R]`` singular vectors of all deltas together."""
        every = torch.eye(self.tasks, dtype=torch.float64)
        left, right = (
            stack.best_right(every, rank) for stack in (self.stack.transposed, self.stack)
        )
        return left, right

    def sum(self, rows: torch.Tensor) -> torch.Tensor:
        """Sum rows by task: ``[N, …]`` -> ``[T, …]``."""
        return rows.new_zeros(self.tasks, *rows.shape[1:]).index_add_(0, self.stack.owner, rows)

    def sides(self, u: torch.Tensor, v: torch.Tensor, cores: torch.Tensor) -> tuple[Side, Side]:
        """Return the sides of ``P U core_t (Qᵀ V)ᵀ``.

        ``cores`` is ``[T, R, R]``, or ``[T, 1, R]`` for diagonals. Cores are scaled to a largest
        entry of 1, which avoids overflow and underflow in fp16.
        """
        scale = cores.abs().max().clamp_min(1e-30)
        a = scale.sqrt() * (v.T @ self.basis_right)
        b = scale.sqrt() * (self.basis_left @ u)
        return Side.shared(a.float(), self.tasks), Side(b.float()[None], (cores / scale).float())


def merge_jointly(
    method: str,
    adapters: AdapterSet,
    rank: int | None,
    merge: Callable[[Joint, int], tuple[Side, Side]],
) -> MergedAdapters:
    """Merge module by module with ``merge(deltas, R)``.

    R is ``rank``, or else the adapters' largest rank.

    Raises:
        MergeError: ``rank`` is below 1.
    """
    check_rank(rank)
    size = rank or adapters.max_rank

    def merged(alone: AdapterSet, module: str) -> tuple[Side, Side]:
        return merge(Joint.from_stack(alone.stack(module), len(alone.tasks)), size)

    sides = each_module(adapters, merged, "merge")
    return assemble(method, adapters, sides, {"rank": size})
