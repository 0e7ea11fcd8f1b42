"""The exceptions. A message is one line: what, where, expected and found, next step."""

from collections.abc import Collection, Sequence
from typing import TypeVar

T = TypeVar("T")


class HydraOptError(Exception):
    """Base of every error that a user's input can cause.

    Attributes:
        options: parameters that the message refers to, as ``name`` or ``name=value``; the command
            line appends the matching flags.
    """

    def __init__(self, message: object = "", *, options: Sequence[str] = ()):
        super().__init__(message)
        self.options = tuple(options)


class AdapterError(HydraOptError):
    """An adapter cannot be read, or the adapters do not belong to one base model."""


class MergeError(HydraOptError):
    """A merging method or budget that is not possible for these adapters."""


class BaseModelError(HydraOptError):
    """A base model file cannot be read."""


class LoweringError(HydraOptError):
    """A base model does not fit the adapters, or its program cannot be lowered."""


class BundleError(HydraOptError):
    """Stored adapters, a bundle or a pack are damaged, unknown or of another version."""


class TaskError(HydraOptError):
    """A task does not exist, or cannot take the given input."""


class ContextFullError(TaskError):
    """A conversation, or a message alone, is longer than the context."""


class OutputError(HydraOptError):
    """An output exists already or cannot be written."""


class UsageError(HydraOptError):
    """Options are unknown, or do not go together."""


class DataError(HydraOptError):
    """A file of examples cannot be read, or does not fit the tasks or the base model."""


class TrainingError(HydraOptError):
    """Training cannot continue, or a layer cannot be trained with these settings."""


class ProfilingError(HydraOptError):
    """A measurement, runner or emulated device is not available as requested."""


class DeviceError(ProfilingError):
    """An adb device is missing, not ready, or refused a command."""


class DeviceLostError(DeviceError):
    """A device disconnected during a measurement."""


def require(value: T | None, what: str) -> T:
    """Return ``value``, which is optional in general but must be present here.

    Raises:
        HydraOptError: ``value`` is None.
    """
    if value is None:
        raise HydraOptError(f"internal error: {what} is missing; please report this")
    return value


def check_task(task: str, tasks: Collection[str], step: str = "") -> None:
    """Raise ``TaskError`` unless ``task`` is one of ``tasks``; ``step`` names the next step."""
    if task not in tasks:
        listed = f"no task {task!r}; there are: {', '.join(tasks)}"
        raise TaskError(f"{listed}; {step}" if step else listed)
