"""Learning how much of every task goes into one model: the tasks' deltas on the base, weighted."""

from collections.abc import Callable, Sequence

import torch

from ..adapters.applied import Stacks, applied
from ..factors import Factors, Stack
from ..training import Batch, CalibrationData, Schedule, batch, fit
from ..training.batches import EncodedExample


def weighted(stack: Stack, coefficients: torch.Tensor) -> Factors:
    """``sum_t c[t] D_t`` of one module, on the CPU; ``coefficients`` is ``[T]``."""
    return Factors(stack.a.cpu(), (stack.b * coefficients[stack.owner]).cpu())


def learn_coefficients(
    stacks: Stacks,
    data: CalibrationData,
    start: torch.Tensor,
    bound: Callable[[torch.Tensor], torch.Tensor],
    loss: Callable[[torch.nn.Module, Batch], torch.Tensor],
    examples: Sequence[EncodedExample],
    schedule: Schedule,
) -> torch.Tensor:
    """Learn the coefficients ``bound(w)`` ``[T, modules]`` of least mean loss with Adam.

    Args:
        stacks: the tasks' deltas.
        data: has the model.
        start: the weights w to start from, of any shape that ``bound`` takes.
        bound: from w to the coefficients.
        loss: of the model with the weighted deltas on some texts.
        examples: the texts.
        schedule: of the training.

    Raises:
        TrainingError: a loss that is not finite, with the step.
    """
    device = data.model.device
    data.model.requires_grad_(False)
    weights = start.to(device).requires_grad_()

    def mean_loss(chosen: Sequence[EncodedExample]) -> torch.Tensor:
        texts = batch(chosen).to(device)
        with applied(data.model, stacks, bound(weights)):
            return loss(data.model, texts)

    fit({"weights": weights}, mean_loss, examples, schedule, description="learn coefficients")
    return bound(weights).detach()
