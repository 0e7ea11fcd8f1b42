"""``Side``: one side of a module for all tasks, with what they share stored once; making both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..adapters import AdapterSet
from ..errors import MergeError
from ..factors import Factors, padded

INDICES = (torch.int16, torch.int64)  # types of what says which factor a task takes


@dataclass(frozen=True)
class Side:
    """One side (A or B) of one module for all T tasks.

    ``stack`` holds the distinct factors, ``[n, r, in]`` or ``[n, out, r]``. ``of`` says what each
    task takes: int64 ``[T]``, an index into the stack; float ``[T, n]``, weights of a sum; or
    float ``[T, c, c]`` with n = 1, the task's core, which multiplies the factor from the right
    (``[T, 1, c]`` if it is diagonal).
    """

    stack: torch.Tensor
    of: torch.Tensor

    @classmethod
    def shared(cls, factor: torch.Tensor, tasks: int) -> "Side":
        """One factor for all tasks."""
        return cls(factor[None], torch.zeros(tasks, dtype=torch.int64))

    @property
    def is_shared(self) -> bool:
        """Whether all tasks take the same factor."""
        return self.stack.shape[0] == 1 and not self.of.is_floating_point()

    @property
    def tasks(self) -> range:
        """Numbers of all tasks."""
        return range(len(self.of))

    def factor(self, task: int) -> torch.Tensor:
        """The float32 factor of one task."""
        if self.of.dim() == 3:
            factor, core = self.stack[0].float(), self.of[task].float()
            return factor * core if len(core) == 1 else factor @ core
        if self.of.is_floating_point():
            return torch.tensordot(self.of[task].float(), self.stack.float(), dims=1)
        return self.stack[self.of[task]].float()

    def stored(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors to store under ``name``: fp16 factors, and ``of`` where it says anything."""
        tensors = {name: self.stack.half().contiguous()}
        if not tensors[name].isfinite().all():
            raise MergeError(f"{name}: a factor exceeds fp16; check the adapters' scales")
        if self.of.is_floating_point():
            tensors[f"{name}.of"] = self.of.half().contiguous()
        elif len(self.stack) > 1 and not torch.equal(self.of, torch.arange(len(self.stack))):
            tensors[f"{name}.of"] = self.of.to(torch.int16)
        return tensors

    @classmethod
    def restored(cls, name: str, tensors: Mapping[str, torch.Tensor], tasks: int) -> "Side":
        """The inverse of :meth:`stored`; raises ``ValueError`` if the tensors do not fit."""
        stack = tensors[name]
        if not stack.numel():
            raise ValueError(f"{name} is empty")
        of = tensors.get(f"{name}.of")
        if of is None:
            of = torch.arange(len(stack)) if len(stack) > 1 else torch.zeros(tasks).long()
        if stack.dim() != 3 or stack.dtype != torch.float16 or not stack.isfinite().all():
            raise ValueError(f"{name} is no finite fp16 [n, rows, columns]")
        if of.dtype not in (torch.float16, *INDICES) or not of.isfinite().all():
            raise ValueError(f"{name}.of is no finite fp16 or whole numbers")
        of = of if of.dtype == torch.float16 else of.long()
        if of.is_floating_point():
            columns = stack.shape[2]
            cores = [(tasks, rows, columns) for rows in (1, columns) if len(stack) == 1]
            fits = of.shape in [(tasks, len(stack)), *cores]
        else:
            fits = of.shape == (tasks,) and 0 <= of.min() <= of.max() < len(stack)
        if not fits:
            raise ValueError(f"{name} does not belong to {tasks} tasks")
        return cls(stack, of)


def head_sides(adapters: AdapterSet) -> dict[str, tuple[Side, Side]]:
    """Every task's own head, by module; those of fewer classes padded with zeros."""
    everyone = torch.arange(len(adapters.tasks))
    return {
        name: stacked([adapter.heads[name] for adapter in adapters.adapters], everyone)
        for name in adapters.adapters[0].heads
    }


def stacked(factors: Sequence[Factors], of: torch.Tensor) -> tuple[Side, Side]:
    """Both sides of a module whose tasks take ``factors[of]``, of equal or different ranks."""
    rank = max(1, *(len(x.a) for x in factors))
    stacks = zip(*(padded(x, rank) for x in factors), strict=True)
    a, b = (Side(torch.stack(side), of) for side in stacks)
    return a, b
