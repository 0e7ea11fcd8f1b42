"""How merged adapters map to a program: constants for what tasks share, inputs for the rest."""

from collections.abc import Sequence

import torch

from ..merging import MergedAdapters
from ..packing import FactorInput


def module_shapes(merged: MergedAdapters) -> dict[str, tuple[int, int]]:
    """``(out, in)`` of every adapted module."""
    return {
        module: (b.stack.shape[1], a.stack.shape[2]) for module, (a, b) in merged.modules.items()
    }


def factor_inputs(merged: MergedAdapters) -> tuple[FactorInput, ...]:
    """The program's factor inputs: every factor that the tasks do not share."""
    return tuple(
        FactorInput(f"{module}.{letter}", (1, *side.stack.shape[:0:-1]))
        for module, sides in merged.modules.items()
        for letter, side in zip("AB", sides, strict=True)
        if not side.is_shared
    )


def task_factors(
    merged: MergedAdapters, task: str, inputs: Sequence[FactorInput]
) -> list[torch.Tensor]:
    """One task's values for ``inputs``, transposed to the inputs' shapes."""
    constants = task_constants(merged, task)
    return [constants[factor.name].T.reshape(factor.shape) for factor in inputs]


def shared_constants(merged: MergedAdapters) -> dict[str, torch.Tensor]:
    """``module.A`` / ``module.B`` -> the factor that all tasks share, float32."""
    return {
        f"{module}.{letter}": side.factor(0)
        for module, sides in merged.modules.items()
        for letter, side in zip("AB", sides, strict=True)
        if side.is_shared
    }


def task_constants(merged: MergedAdapters, task: str) -> dict[str, torch.Tensor]:
    """``module.A`` / ``module.B`` -> one task's factors, ``[r, in]`` and ``[out, r]``, float32."""
    return {
        f"{module}.{letter}": factor
        for module in merged.modules
        for letter, factor in zip("AB", merged.factors(task, module), strict=True)
    }


def constant_bytes(merged: MergedAdapters, *, closed: bool) -> int:
    """Bytes of the float32 factors inside the program: the shared ones, or all if it is closed."""
    tensors = list(shared_constants(merged).values())
    if closed:
        tensors = [t for task in merged.tasks for t in task_constants(merged, task).values()]
    return sum(tensor.nbytes for tensor in tensors)
