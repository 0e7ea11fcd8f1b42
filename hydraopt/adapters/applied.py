"""A base model with weighted sums of tasks' deltas on it.

The model runs with ``sum_t c[t, l] D_t`` added to every module l. In factor space: with all A's of
a module below each other and all B's side by side, that is one product with the coefficients
between them, ``B (c * A x)``. No delta is formed, and gradients reach c alone.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch.nn.functional import linear

from ..factors import Stack
from ..hooks import outputs_plus
from .lora import AdapterSet

Stacks = Mapping[str, Stack]  # module -> its tasks' factors


def stack_of(adapters: AdapterSet, module: str, device: torch.device | str = "cpu") -> Stack:
    """One module's factors in float32."""
    owner, a, b = (x.to(device) for x in vars(adapters.stack(module)).values())
    return Stack(owner, a.float(), b.float())


def stacks_of(adapters: AdapterSet, device: torch.device) -> Stacks:
    """All modules' factors in float32, in the order of ``adapters.shapes``."""
    return {module: stack_of(adapters, module, device) for module in adapters.shapes}


def applied(
    model: torch.nn.Module, stacks: Stacks, coefficients: torch.Tensor
) -> AbstractContextManager[None]:
    """Run ``model`` with the weighted deltas; ``coefficients`` is ``[T, modules]``."""

    def change(stack: Stack, column: torch.Tensor):
        weights = column[stack.owner]
        return lambda x: linear(linear(x, stack.a) * weights, stack.b)

    columns = zip(stacks.items(), coefficients.T, strict=True)
    return outputs_plus(model, {name: change(stack, column) for (name, stack), column in columns})
