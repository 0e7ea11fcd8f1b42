"""Learning how much of every task goes into one model: the tasks' deltas on the base, weighted.

The model runs with ``sum_t c[t, l] D_t`` added to every module l. In factor space: with all A's of
a module below each other and all B's side by side, that is one product with the coefficients
between them, ``B (c * A x)``. No delta is formed, and gradients reach c alone.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch.nn.functional import linear

from ..adapters import AdapterSet, Factors
from ..hooks import outputs_plus
from ..training import Batch, CalibrationData, Schedule, batch, fit
from ..training.batches import Row
from .coordinates import Stack

Stacks = Mapping[str, Stack]  # module -> its tasks' factors


def stack_of(adapters: AdapterSet, module: str, device: torch.device | str = "cpu") -> Stack:
    """One module's factors in float32."""
    owner, a, b = (x.to(device) for x in vars(Stack.from_adapters(adapters, module)).values())
    return Stack(owner, a.float(), b.float())


def stacks_of(adapters: AdapterSet, device: torch.device) -> Stacks:
    """All modules' factors in float32, in the order of ``adapters.shapes``."""
    return {module: stack_of(adapters, module, device) for module in adapters.shapes}


def weighted(stack: Stack, coefficients: torch.Tensor) -> Factors:
    """``sum_t c[t] D_t`` of one module, on the CPU; ``coefficients`` is ``[T]``."""
    return Factors(stack.a.cpu(), (stack.b * coefficients[stack.owner]).cpu())


def applied(
    model: torch.nn.Module, stacks: Stacks, coefficients: torch.Tensor
) -> AbstractContextManager[None]:
    """Run ``model`` with the weighted deltas; ``coefficients`` is ``[T, modules]``."""

    def change(stack: Stack, column: torch.Tensor):
        weights = column[stack.owner]
        return lambda x: linear(linear(x, stack.a) * weights, stack.b)

    columns = zip(stacks.items(), coefficients.T, strict=True)
    return outputs_plus(model, {name: change(stack, column) for (name, stack), column in columns})


def learn_coefficients(
    stacks: Stacks,
    data: CalibrationData,
    start: torch.Tensor,
    bound: Callable[[torch.Tensor], torch.Tensor],
    loss: Callable[[torch.nn.Module, Batch], torch.Tensor],
    rows: Sequence[Row],
    schedule: Schedule,
) -> torch.Tensor:
    """The coefficients ``bound(w)`` ``[T, modules]`` of the least mean loss of ``rows``, by Adam.

    Args:
        stacks: the tasks' deltas.
        data: has the model.
        start: the weights w to start from, of any shape that ``bound`` takes.
        bound: from w to the coefficients.
        loss: of the model with the weighted deltas on some texts.
        rows: the texts.
        schedule: of the training.

    Raises:
        TrainingError: a loss that is not finite, with the step.
    """
    device = data.model.device
    data.model.requires_grad_(False)
    weights = start.to(device).requires_grad_()

    def mean_loss(chosen: Sequence[Row]) -> torch.Tensor:
        texts = batch(chosen).to(device)
        with applied(data.model, stacks, bound(weights)):
            return loss(data.model, texts)

    fit({"weights": weights}, mean_loss, rows, schedule, description="learn coefficients")
    return bound(weights).detach()
