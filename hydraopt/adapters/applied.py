"""Run a base model with a weighted sum of the tasks' deltas.

``sum_t c[t, l] D_t`` is added to every module l. In factor space, with all A's of a module stacked
and all B's concatenated, this is one product with the coefficients in between, ``B (c * A x)``. No
delta is formed, and only c receives gradients.
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
    """Return the stacked factors of one module in float32."""
    owner, a, b = (x.to(device) for x in vars(adapters.stack(module)).values())
    return Stack(owner, a.float(), b.float())


def stacks_of(adapters: AdapterSet, device: torch.device) -> Stacks:
    """Return all modules' stacked factors in float32, in the order of ``adapters.shapes``."""
    return {module: stack_of(adapters, module, device) for module in adapters.shapes}


def applied(
    model: torch.nn.Module, stacks: Stacks, coefficients: torch.Tensor
) -> AbstractContextManager[None]:
    """Run ``model`` with the weighted deltas in the block; ``coefficients`` is ``[T, modules]``."""

    def change(stack: Stack, column: torch.Tensor):
        weights = column[stack.owner]
        return lambda x: linear(linear(x, stack.a) * weights, stack.b)

    columns = zip(stacks.items(), coefficients.T, strict=True)
    return outputs_plus(model, {name: change(stack, column) for (name, stack), column in columns})
