"""The energy of a module's directions: the input of the allocation."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..adapters import AdapterSet
from ..factors import Stack

LARGEST_ROW_STEP = 4.0  # rows have a mean square of 1
HEADROOM = 16.0  # largest column step, relative to the largest root mean square of a delta


@dataclass(frozen=True)
class Spectrum:
    """The input of the allocation for one module.

    Attributes:
        shape: ``(out, in)``.
        tasks: number of tasks T.
        weight: weight of an error in this module.
        largest_step: largest step of a column.
        rows: candidates for shared rows, best first, float32 ``[n, in]`` of mean square 1.
        counts: options for the number of shared rows.
        energies: per option, energies of the shared rows and then of the best private directions
            for the remainder, ``[options, R]``, padded with zeros.
    """

    shape: tuple[int, int]
    tasks: int
    weight: float
    largest_step: float
    rows: torch.Tensor
    counts: tuple[int, ...]
    energies: torch.Tensor

    @classmethod
    def from_adapters(
        cls, adapters: AdapterSet, module: str, rank: int, *, mixable: bool = False
    ) -> "Spectrum":
        """Compute the spectrum of one module.

        Args:
            adapters: the adapters.
            module: one of their modules.
            rank: largest rank of any module, which limits the number of shared rows.
            mixable: without private directions.
        """
        tasks = len(adapters.tasks)
        stack = adapters.stack(module)
        coords, basis = stack.split_a
        norms = stack.squared_norms(tasks)
        values, vectors = torch.linalg.eigh(stack.second_moment(torch.eye(tasks).double()))
        values, vectors = values.flip(0).clamp_min(0) / tasks, vectors.flip(1)
        most = min(3 * rank, len(values))
        counts: tuple[int, ...]
        if mixable:
            counts, energies = (most,), values[None, :most]
        else:
            private = _private_energies(stack, coords)
            counts = tuple(range(0, most + 1, max(1, rank // 4)))
            options = [
                torch.cat([values[:count], private(vectors[:, :count]) / tasks]) for count in counts
            ]
            energies = torch.nn.utils.rnn.pad_sequence(options, batch_first=True)
        rows = vectors[:, :most].T @ basis
        rows /= rows.square().mean(1, keepdim=True).sqrt()
        out, width = adapters.shapes[module]
        size = float((norms.max() / (out * width)).sqrt())
        largest_step = 2.0 ** math.ceil(math.log2(max(size, 1e-12) * HEADROOM))
        weight = max(float(norms.mean()), 1e-30) ** -0.5
        return cls((out, width), tasks, weight, largest_step, rows.float(), counts, energies)


def _private_energies(stack: Stack, coords: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function of shared directions ``[p, n]``: the energies of private directions.

    They are the squared singular values of each task's residual, summed over tasks. With
    ``B = Q R`` and A' the residual of A, these are the eigenvalues of ``R A' A'ᵀ Rᵀ``.
    """
    parts = [stack.owner == task for task in stack.owner.unique()]
    lefts = [torch.linalg.qr(stack.b[:, mine]).R for mine in parts]
    sums = [left @ coords[mine] for left, mine in zip(lefts, parts, strict=True)]
    grams = [part @ part.T for part in sums]

    def energies(seen: torch.Tensor) -> torch.Tensor:
        total = coords.new_zeros(max(map(len, sums)))
        for part, gram in zip(sums, grams, strict=True):
            shared = part @ seen
            values = torch.linalg.eigvalsh(gram - shared @ shared.T).flip(0).clamp_min(0)
            total[: len(values)] += values
        return total

    return energies
