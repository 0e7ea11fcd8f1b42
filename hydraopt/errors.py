"""One exception family. A message is one line: what, where, expected and found, next step."""

from collections.abc import Collection, Sequence
from typing import TypeVar

T = TypeVar("T")


class HydraOptError(Exception):
    """Base of every error that a user's input can cause.

    Attributes:
        options: parameters of which the message speaks, ``name`` or ``name=value``. The command
            line adds its flags for them.
    """

    def __init__(self, message: object = "", *, options: Sequence[str] = ()):
        super().__init__(message)
        self.options = tuple(options)


class AdapterError(HydraOptError):
    """An adapter directory that cannot be read, or adapters that do not belong together."""


class MergeError(HydraOptError):
    """A merging method asked for what it cannot do."""


class BaseModelError(HydraOptError):
    """A file of a base model that cannot be read."""


class LoweringError(HydraOptError):
    """A base model that does not fit the adapters, or a program that did not lower as required."""


class BundleError(HydraOptError):
    """A set of adapters, bundle or pack that is damaged, foreign or of another version."""


class TaskError(HydraOptError):
    """A task that is not there, or an input that it cannot take."""


class OutputError(HydraOptError):
    """An output that exists already or cannot be written."""


class UsageError(HydraOptError):
    """Options that do not exist for, or do not go with, what was asked."""


class DataError(HydraOptError):
    """A file of prompts or answers that cannot be read, or does not fit tasks or base model."""


class TrainingError(HydraOptError):
    """A training that cannot go on, or a layer that cannot be trained as asked."""


class ProfilingError(HydraOptError):
    """A measurement, a runner or an emulated device that is not possible as asked."""


class DeviceError(ProfilingError):
    """A device behind adb that is missing, not ready, or refused what it was asked to do."""


class DeviceLostError(DeviceError):
    """A device that was there and went away."""


def require(value: T | None, what: str) -> T:
    """``value``, which other kinds of models or inputs lack, where it is known to be there.

    Raises:
        HydraOptError: it is None.
    """
    if value is None:
        raise HydraOptError(f"there is no {what}, expected one for what was asked; report this")
    return value


def check_task(task: str, tasks: Collection[str], step: str = "") -> None:
    """Raise ``TaskError`` unless ``task`` is one of ``tasks``; ``step`` says what helps."""
    if task not in tasks:
        listed = f"no task {task!r}; there are: {', '.join(tasks)}"
        raise TaskError(f"{listed}; {step}" if step else listed)
