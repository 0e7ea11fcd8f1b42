"""Train the weights of the tasks' deltas in one merged model."""

from collections.abc import Callable, Sequence

import torch

from ..adapters.applied import Stacks, applied
from ..factors import Factors, Stack
from ..training import Batch, CalibrationData, Schedule, batch, fit
from ..training.batches import EncodedExample


def weighted(stack: Stack, coefficients: torch.Tensor) -> Factors:
    """Return ``sum_t c[t] D_t`` of one module, on the CPU; ``coefficients`` is ``[T]``."""
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
    """Train weights w with Adam; returns the coefficients ``bound(w) [T, modules]``.

    Args:
        stacks: the tasks' deltas.
        data: provides the model.
        start: initial w, of any shape that ``bound`` accepts.
        bound: maps w to the coefficients.
        loss: mean loss of the model, with the weighted deltas applied, on a batch.
        examples: encoded examples to train on.
        schedule: training schedule.

    Raises:
        TrainingError: the loss is not finite; names the step.
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
