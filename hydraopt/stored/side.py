"""``Side``: one side (A or B) of a module for all tasks, with shared factors stored once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..adapters import AdapterSet
from ..errors import MergeError
from ..factors import Factors, padded

INDICES = (torch.int16, torch.int64)  # dtypes of indices into the stack


@dataclass(frozen=True)
class Side:
    """One side (A or B) of one module for all T tasks.

    Attributes:
        stack: the n distinct factors, ``[n, r, in]`` or ``[n, out, r]``.
        assignment: how a task's factor results from the stack: an index, int64 ``[T]``; weights
            of a sum, float ``[T, n]``; or, with n = 1, a core that multiplies the factor from the
            right, float ``[T, c, c]`` (``[T, 1, c]`` if diagonal).
    """

    stack: torch.Tensor
    assignment: torch.Tensor

    @classmethod
    def shared(cls, factor: torch.Tensor, tasks: int) -> "Side":
        """Return the side in which all tasks have the same factor."""
        return cls(factor[None], torch.zeros(tasks, dtype=torch.int64))

    @property
    def is_shared(self) -> bool:
        """Whether all tasks have the same factor."""
        return self.stack.shape[0] == 1 and not self.assignment.is_floating_point()

    @property
    def tasks(self) -> range:
        """Indices of all tasks."""
        return range(len(self.assignment))

    def factor(self, task: int) -> torch.Tensor:
        """Return the factor of one task, float32."""
        if self.assignment.dim() == 3:
            factor, core = self.stack[0].float(), self.assignment[task].float()
            return factor * core if len(core) == 1 else factor @ core
        if self.assignment.is_floating_point():
            return torch.tensordot(self.assignment[task].float(), self.stack.float(), dims=1)
        return self.stack[self.assignment[task]].float()

    def stored(self, name: str) -> dict[str, torch.Tensor]:
        """Return the tensors to store: fp16 factors, and the assignment if it is not implied."""
        tensors = {name: self.stack.half().contiguous()}
        if not tensors[name].isfinite().all():
            raise MergeError(f"{name}: a factor exceeds fp16; check the adapters' scales")
        if self.assignment.is_floating_point():
            tensors[f"{name}.of"] = self.assignment.half().contiguous()
        elif len(self.stack) > 1 and self.assignment.tolist() != [*range(len(self.stack))]:
            tensors[f"{name}.of"] = self.assignment.to(torch.int16)
        return tensors

    @classmethod
    def restored(cls, name: str, tensors: Mapping[str, torch.Tensor], tasks: int) -> "Side":
        """Restore a side from :meth:`stored`; raises ``ValueError`` if the tensors do not fit."""
        stack = tensors[name]
        if not stack.numel():
            raise ValueError(f"{name} is empty")
        assignment = tensors.get(f"{name}.of")
        if assignment is None:
            assignment = torch.arange(len(stack)) if len(stack) > 1 else torch.zeros(tasks).long()
        if stack.dim() != 3 or stack.dtype != torch.float16 or not stack.isfinite().all():
            raise ValueError(f"{name} is not a finite fp16 tensor [n, rows, columns]")
        if assignment.dtype not in (torch.float16, *INDICES) or not assignment.isfinite().all():
            raise ValueError(f"{name}.of is not finite fp16 or integers")
        assignment = assignment if assignment.dtype == torch.float16 else assignment.long()
        if assignment.is_floating_point():
            columns = stack.shape[2]
            cores = [(tasks, rows, columns) for rows in (1, columns) if len(stack) == 1]
            fits = assignment.shape in [(tasks, len(stack)), *cores]
        else:
            inside = assignment.clamp(0, len(stack) - 1).equal(assignment)
            fits = assignment.shape == (tasks,) and inside
        if not fits:
            raise ValueError(f"{name} does not fit {tasks} tasks")
        return cls(stack, assignment)


def head_sides(adapters: AdapterSet) -> dict[str, tuple[Side, Side]]:
    """Return the sides of the tasks' heads by module; heads of fewer classes are zero-padded."""
    everyone = torch.arange(len(adapters.tasks))
    return {
        name: stacked([adapter.heads[name] for adapter in adapters.adapters], everyone)
        for name in adapters.adapters[0].heads
    }


def stacked(factors: Sequence[Factors], assignment: torch.Tensor) -> tuple[Side, Side]:
    """Stack factors, whose ranks may differ, to both sides; task t has number ``assignment[t]``."""
    rank = max(1, *(len(x.a) for x in factors))
    stacks = zip(*(padded(x, rank) for x in factors), strict=True)
    a, b = (Side(torch.stack(side), assignment) for side in stacks)
    return a, b
