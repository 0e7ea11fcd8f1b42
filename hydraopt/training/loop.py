"""The one training loop: a few parameters, mini-batches, early stop, resumable."""

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
WINDOW = 20  # steps between two looks at the loss, and over which the training loss is averaged
HOPELESS = 50  # such windows without one below twice the first one's loss
MOST_STEPS = 1_000_000  # days on any machine


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: optimizer steps at most.
        rate: AdamW's learning rate, constant after a warm-up of the first 3 % of the steps.
        batch: examples per step.
        patience: stop after so many looks (one every 20 steps) without a lower loss; None: never.
        weight_decay: AdamW's.
        seed: of the order of the examples and of dropout.

    Raises:
        TrainingError: more steps than anyone waits for.
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
    """What :func:`fit` did: steps taken, each step's loss, and the loss of the weights kept."""

    steps: int
    losses: Sequence[float]
    best: float


def pick_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
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
    """Minimise ``loss``, in place; the weights of the lowest loss are kept.

    Every 20 steps the loss of ``held_out``, or else the mean of the last 20 training losses, is
    compared with the lowest so far.

    Args:
        parameters: name -> leaf tensor that requires a gradient.
        loss: mean loss of some examples, a scalar.
        examples: what to train on; every epoch in another seeded order.
        schedule: steps, rate, batch and the like.
        held_out: examples to judge by.
        checkpoint: a file to continue from if it exists, written at every look.
        before_step: called with the step's number, from 0, and its examples.
        updates: an optimizer of ``parameters`` with the scheduler of its rates; by default AdamW
            as ``schedule`` says.
        description: of the progress bar.

    Raises:
        TrainingError: a loss that is not finite, or stays above twice its first value for 1000
            steps; the best weights so far are in ``parameters``.
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
                torch.manual_seed(schedule.seed * 1_000_003 + state.step)  # dropout, also resumed
                chosen = _mini_batch(examples, schedule, state.step)
                if before_step is not None:
                    before_step(state.step, chosen)
                state.advance(loss(chosen))
                bar.update()
                bar.set_postfix(loss=f"{state.losses[-1]:.4f}", refresh=False)
                if state.step % WINDOW == 0 or state.step == schedule.steps:
                    state.look(_judged(loss, held_out, schedule.batch))
                    if checkpoint is not None:
                        state.save(checkpoint)
    finally:
        state.keep_best()
    return Fitted(state.step, tuple(state.losses), state.best)


def remove_checkpoint(path: Path) -> None:
    """Remove the checkpoint of an earlier training, if there is one.

    Raises:
        DataError: what has the name is no checkpoint of ours.
    """
    if not os.path.lexists(path):
        return
    try:
        check_regular(path)
        state = torch.load(path, weights_only=True, mmap=True)
        ours = not path.is_symlink() and {"schedule", "weights", "kept"} <= {*state}
    except Exception:  # what is raised depends on what it is
        ours = False
    if not ours:
        raise DataError(f"{path} is in the way and no checkpoint of ours; move it away")
    path.unlink()


class _TrainingState:
    """What changes from step to step."""

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
        """One optimizer step, unless the loss or a gradient is not finite."""
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

    def look(self, judged: float | None) -> None:
        """Compare the loss with the best one; keep the weights if it is lower."""
        loss = mean(self.losses[-WINDOW:]) if judged is None else judged
        logger.info("step %d: loss %.4f", self.step, loss)
        if loss < self.best:
            self.best, self.stale, self.kept = loss, 0, self._weights()
        else:
            self.stale += 1
        self._check_hope()

    def _check_hope(self) -> None:
        """Raise ``TrainingError`` if no late window of steps has a loss near the first one's."""
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
        except Exception as error:  # what is raised depends on where the damage is
            raise DataError(
                f"checkpoint {checkpoint} is damaged or of another training "
                f"({shortened(error)}); remove it to start again"
            ) from error

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}


def _check_like(expected: torch.Tensor, name: str, *tensors: torch.Tensor) -> None:
    """Raise ``ValueError`` for what is no finite tensor of the same shape and type."""
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
    """The step's examples: each epoch is one seeded permutation of all, its rest is left out."""
    size = min(schedule.batch, len(examples))
    epoch, position = divmod(step, len(examples) // size)
    generator = torch.Generator().manual_seed(schedule.seed * 1_000_003 + epoch)
    order = torch.randperm(len(examples), generator=generator).tolist()
    return [examples[i] for i in order[position * size : (position + 1) * size]]


@torch.no_grad()
def _judged(
    loss: Callable[[Sequence[T]], torch.Tensor], held_out: Sequence[T], size: int
) -> float | None:
    """Mean loss of ``held_out``; None if there is none."""
    if not held_out:
        return None
    parts = [held_out[i : i + size] for i in range(0, len(held_out), size)]
    return sum(len(part) * loss(part).item() for part in parts) / len(held_out)
