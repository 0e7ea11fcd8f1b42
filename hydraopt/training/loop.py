"""The training loop: mini-batches, early stopping and checkpoints."""

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TypeVar

import torch
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from ..errors import DataError, TrainingError
from ..files import replaced_file
from ..progress import steps
from ..reading import check_regular, shortened

logger = logging.getLogger(__name__)

T = TypeVar("T")
Updates = tuple[Optimizer, LRScheduler]  # stepped together
WINDOW = 20  # steps between evaluations, and over which the training loss is averaged
HOPELESS = 50  # windows with a loss above twice the first one's before training is given up
MOST_STEPS = 1_000_000  # days on any machine


@dataclass(frozen=True)
class Schedule:
    """Training schedule.

    Attributes:
        steps: maximum number of optimizer steps.
        rate: learning rate of AdamW, constant after a warm-up over the first 3 % of the steps.
        batch: examples per step.
        patience: number of evaluations (one every 20 steps) without a lower loss after which
            training stops; None disables early stopping.
        weight_decay: weight decay of AdamW.
        seed: seed for the order of the examples and for dropout.

    Raises:
        TrainingError: more than a million steps.
    """

    steps: int
    rate: float
    batch: int = 16
    patience: int | None = None
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self):
        if self.steps > MOST_STEPS:
            raise TrainingError(
                f"steps is {self.steps:,}, expected at most {MOST_STEPS:,}; train with fewer"
            )


@dataclass(frozen=True)
class Fitted:
    """Result of :func:`fit`: steps taken, the loss of each step, and the lowest evaluated loss."""

    steps: int
    losses: Sequence[float]
    best: float


def pick_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fit(
    parameters: Mapping[str, torch.Tensor],
    loss: Callable[[Sequence[T]], torch.Tensor],
    examples: Sequence[T],
    schedule: Schedule,
    *,
    held_out: Sequence[T] = (),
    checkpoint: Path | None = None,
    before_step: Callable[[int, Sequence[T]], None] | None = None,
    updates: Updates | None = None,
    description: str = "train",
) -> Fitted:
    """Train ``parameters`` in place and keep the weights of the lowest loss.

    Every 20 steps the loss on ``held_out``, or else the mean of the last 20 training losses, is
    compared with the lowest so far.

    Args:
        parameters: name -> leaf tensor that requires a gradient.
        loss: mean loss of a mini-batch of examples, a scalar.
        examples: training examples, shuffled with the seed in every epoch.
        schedule: training schedule.
        held_out: validation examples.
        checkpoint: file to resume from if it exists, and to write at every evaluation.
        before_step: called with the index of the step, from 0, and its examples.
        updates: optimizer of ``parameters`` and its learning rate scheduler; defaults to AdamW as
            described by ``schedule``.
        description: label of the progress bar.

    Raises:
        TrainingError: the loss is not finite, or stays above twice its initial value for 1000
            steps; ``parameters`` then hold the best weights so far.
        DataError: ``checkpoint`` is damaged or belongs to other parameters or another schedule.
    """
    state = _TrainingState(parameters, schedule, updates or _adamw(parameters, schedule))
    if checkpoint is not None and checkpoint.exists():
        state.restore(checkpoint)
    try:
        with (
            torch.random.fork_rng(),
            steps(description, total=schedule.steps, done=state.step) as bar,
        ):
            while state.step < schedule.steps and not state.is_stale():
                torch.manual_seed(schedule.seed * 1_000_003 + state.step)  # for dropout
                chosen = _mini_batch(examples, schedule, state.step)
                if before_step is not None:
                    before_step(state.step, chosen)
                state.advance(loss(chosen))
                bar.update()
                bar.set_postfix(loss=f"{state.losses[-1]:.4f}", refresh=False)
                if state.step % WINDOW == 0 or state.step == schedule.steps:
                    state.evaluate(_held_out_loss(loss, held_out, schedule.batch))
                    if checkpoint is not None:
                        state.save(checkpoint)
    finally:
        state.keep_best()
    return Fitted(state.step, tuple(state.losses), state.best)


def remove_checkpoint(path: Path) -> None:
    """Remove the checkpoint of an earlier training, if it exists.

    Raises:
        DataError: the file is not one of our checkpoints.
    """
    if not os.path.lexists(path):
        return
    try:
        check_regular(path)
        state = torch.load(path, weights_only=True, mmap=True)
        ours = not path.is_symlink() and {"schedule", "weights", "kept"} <= {*state}
    except Exception:  # torch.load raises many types
        ours = False
    if not ours:
        raise DataError(f"{path} is not a checkpoint of hydraopt; move it away")
    path.unlink()


class _TrainingState:
    """State that changes from step to step."""

    def __init__(
        self, parameters: Mapping[str, torch.Tensor], schedule: Schedule, updates: Updates
    ):
        self.parameters = dict(parameters)
        self.schedule = schedule
        self.optimizer, self.scheduler = updates
        self.step, self.stale, self.best = 0, 0, math.inf
        self.losses: list[float] = []
        self.kept = self._weights()

    def is_stale(self) -> bool:
        return self.schedule.patience is not None and self.stale >= self.schedule.patience

    def advance(self, loss: torch.Tensor) -> None:
        """Take an optimizer step; raises ``TrainingError`` if loss or gradients are not finite."""
        self.optimizer.zero_grad()
        loss.backward()
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        if not (loss.isfinite() and norm.isfinite() and gradients):
            raise TrainingError(
                f"step {self.step + 1}: loss {loss.item():.4g}, gradient {norm.item():.4g}, "
                "expected finite ones; the best weights so far are kept; lower the rate"
            )
        self.optimizer.step()
        self.scheduler.step()
        self.losses.append(loss.item())
        self.step += 1

    def evaluate(self, held_out: float | None) -> None:
        """Keep the weights if the held-out loss, or else the mean training loss, is the lowest."""
        loss = mean(self.losses[-WINDOW:]) if held_out is None else held_out
        logger.info("step %d: loss %.4f", self.step, loss)
        if loss < self.best:
            self.best, self.stale, self.kept = loss, 0, self._weights()
        else:
            self.stale += 1
        self._check_hope()

    def _check_hope(self) -> None:
        """Raise ``TrainingError`` if the loss has stayed above twice its initial value."""
        first, late = mean(self.losses[:WINDOW]), self.losses[-HOPELESS * WINDOW :]
        if len(self.losses) <= len(late):
            return
        windows = [mean(late[start : start + WINDOW]) for start in range(0, len(late), WINDOW)]
        if min(windows) > first + abs(first):
            raise TrainingError(
                f"step {self.step}: loss {windows[-1]:.4g}, expected one less than twice the "
                f"first, {first:.4g}, within {len(late):,} steps; the best weights so far are "
                "kept; lower the rate"
            )

    def keep_best(self) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.kept[name])

    def save(self, checkpoint: Path) -> None:
        state = {
            "schedule": repr(self.schedule),
            "weights": self._weights(),
            "kept": self.kept,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "progress": [self.step, self.stale, self.best, self.losses],
        }
        with replaced_file(checkpoint) as staging:
            torch.save(state, staging)

    def restore(self, checkpoint: Path) -> None:
        try:
            check_regular(checkpoint)
            state = torch.load(checkpoint, weights_only=True)
            if state["schedule"] != repr(self.schedule):
                raise ValueError(f"of {state['schedule']}, expected {self.schedule}")
            for name, parameter in self.parameters.items():
                _check_like(parameter, name, state["weights"][name], state["kept"][name])
            self.optimizer.load_state_dict(state["optimizer"])
            for parameter, values in self.optimizer.state.items():
                moments = [x for x in values.values() if isinstance(x, torch.Tensor) and x.ndim]
                _check_like(parameter, "the optimizer's state", *moments)
            self.scheduler.load_state_dict(state["scheduler"])
            step, stale, best, losses = state["progress"]
            if not (len(losses) == step == int(step) <= self.schedule.steps and stale >= 0):
                raise ValueError(f"{step} steps, {len(losses)} losses")
            self.step, self.stale, self.best = step, stale, float(best)
            self.losses = [float(loss) for loss in losses]
            self.kept = {name: state["kept"][name] for name in self.parameters}
            for name, parameter in self.parameters.items():
                parameter.data.copy_(state["weights"][name])
        except Exception as error:  # the type depends on the damage
            raise DataError(
                f"checkpoint {checkpoint} is damaged or belongs to another training "
                f"({shortened(error)}); remove it to start again"
            ) from error

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}


def _check_like(expected: torch.Tensor, name: str, *tensors: torch.Tensor) -> None:
    """Raise ``ValueError`` unless all tensors are finite and of the expected shape and dtype."""
    for found in tensors:
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            raise ValueError(
                f"{name} is {found.dtype} {tuple(found.shape)}, expected {expected.dtype} "
                f"{tuple(expected.shape)}"
            )
        if not found.isfinite().all():
            raise ValueError(f"{name} has NaN or infinite numbers")


def _adamw(parameters: Mapping[str, torch.Tensor], schedule: Schedule) -> Updates:
    warm_up = max(1, round(0.03 * schedule.steps))
    optimizer = AdamW(parameters.values(), lr=schedule.rate, weight_decay=schedule.weight_decay)
    return optimizer, LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warm_up))


def _mini_batch(examples: Sequence[T], schedule: Schedule, step: int) -> list[T]:
    """Return a step's examples; an epoch is a seeded permutation without its incomplete batch."""
    size = min(schedule.batch, len(examples))
    epoch, position = divmod(step, len(examples) // size)
    generator = torch.Generator().manual_seed(schedule.seed * 1_000_003 + epoch)
    order = torch.randperm(len(examples), generator=generator).tolist()
    return [examples[i] for i in order[position * size : (position + 1) * size]]


@torch.no_grad()
def _held_out_loss(
    loss: Callable[[Sequence[T]], torch.Tensor], held_out: Sequence[T], size: int
) -> float | None:
    """Return the mean loss of ``held_out``, or None if it is empty."""
    if not held_out:
        return None
    parts = [held_out[i : i + size] for i in range(0, len(held_out), size)]
    return sum(len(part) * loss(part).item() for part in parts) / len(held_out)
