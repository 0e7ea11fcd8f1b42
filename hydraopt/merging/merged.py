"""``MergedAdapters``: what every merging method returns and all that later stages see."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..adapters import ADAPTER, PEFT_CAUSAL_LM, Factors, Role, Target, write_adapter
from ..errors import BundleError, MergeError, TaskError
from ..files import output_directory, safetensors_bytes, write_tensors
from ..formats.merged import DESCRIPTION, MERGED, read_description, write_description
from ..reading import file_tensors, shortened
from .description import write_card

TENSORS = "merged.safetensors"

Setting = int | float | bool | str | None  # the value of a method's option


@dataclass(frozen=True)
class Side:
    """One side (A or B) of one module for all T tasks.

    ``stack`` holds the distinct factors, ``[n, r, in]`` or ``[n, out, r]``. ``of`` says what each
    task takes: int64 ``[T]``, an index into the stack; float ``[T, n]``, weights of a sum; or
    float ``[T, c, c]`` with n = 1, the task's core, which multiplies the factor from the right
    (``[T, 1, c]`` if it is diagonal).
    """

    stack: torch.Tensor
    of: torch.Tensor

    @classmethod
    def shared(cls, factor: torch.Tensor, tasks: int) -> "Side":
        """One factor for all tasks."""
        return cls(factor[None], torch.zeros(tasks, dtype=torch.int64))

    @property
    def is_shared(self) -> bool:
        """Whether all tasks take the same factor."""
        return self.stack.shape[0] == 1 and not self.of.is_floating_point()

    @property
    def tasks(self) -> range:
        """Numbers of all tasks."""
        return range(len(self.of))

    def factor(self, task: int) -> torch.Tensor:
        """The float32 factor of one task."""
        if self.of.dim() == 3:
            factor, core = self.stack[0].float(), self.of[task].float()
            return factor * core if len(core) == 1 else factor @ core
        if self.of.is_floating_point():
            return torch.tensordot(self.of[task].float(), self.stack.float(), dims=1)
        return self.stack[self.of[task]].float()

    def stored(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors to store under ``name``: fp16 factors, and ``of`` where it says anything."""
        tensors = {name: self.stack.half().contiguous()}
        if not tensors[name].isfinite().all():
            raise MergeError(f"{name}: a factor exceeds fp16; check the adapters' scales")
        if self.of.is_floating_point():
            tensors[f"{name}.of"] = self.of.half().contiguous()
        elif len(self.stack) > 1 and not torch.equal(self.of, torch.arange(len(self.stack))):
            tensors[f"{name}.of"] = self.of.to(torch.int16)
        return tensors

    @classmethod
    def restored(cls, name: str, tensors: Mapping[str, torch.Tensor], tasks: int) -> "Side":
        """The inverse of :meth:`stored`; raises ``ValueError`` if the tensors do not fit."""
        stack = tensors[name]
        if not stack.numel():
            raise ValueError(f"{name} is empty")
        of = tensors.get(f"{name}.of")
        if of is None:
            of = torch.zeros(tasks) if len(stack) == 1 else torch.arange(len(stack))
        of = of if of.dtype == torch.float16 else of.long()
        if stack.dim() != 3 or stack.dtype != torch.float16 or not stack.isfinite().all():
            raise ValueError(f"{name} is no finite fp16 [n, rows, columns]")
        if of.is_floating_point():
            columns = stack.shape[2]
            cores = [(tasks, rows, columns) for rows in (1, columns) if len(stack) == 1]
            fits = of.shape in [(tasks, len(stack)), *cores]
        else:
            fits = of.shape == (tasks,) and 0 <= of.min() <= of.max() < len(stack)
        if not fits:
            raise ValueError(f"{name} does not belong to {tasks} tasks")
        return cls(stack, of)


class Merged(ABC):
    """What merged adapters of every kind have in common.

    A kind is a frozen dataclass that has these attributes and is written as a merged directory.
    """

    method: str
    settings: Mapping[str, Setting]
    adapter_bytes: int
    errors: Mapping[str, Mapping[str, float]]
    task_type: str | None

    if TYPE_CHECKING:  # fields of one kind, derived by another; a field cannot replace a property

        @property
        def base_model(self) -> str:
            """Identifier of the base model."""

        @property
        def tasks(self) -> tuple[str, ...]:
            """The tasks' names."""

        @property
        def modules(self) -> Collection[str]:
            """Dotted names of the adapted modules."""

    @property
    @abstractmethod
    def stored_bytes(self) -> int:
        """Bytes of the files that hold the factors."""

    @abstractmethod
    def task_factors(self, task: str) -> dict[str, Factors]:
        """All modules' factors of one task; raises ``TaskError`` if there is none."""

    @property
    def share(self) -> float:
        """Stored bytes as a share of the adapters' fp16 bytes."""
        return self.stored_bytes / self.adapter_bytes

    def describe(self) -> dict:
        """Everything but the factors, ready for JSON."""
        return {
            "method": self.method,
            "settings": dict(self.settings),
            "base_model": self.base_model,
            "task_type": self.task_type,
            "tasks": list(self.tasks),
            "modules": list(self.modules),
            "adapter_bytes": self.adapter_bytes,
            "stored_bytes": self.stored_bytes,
            "errors": {task: dict(errors) for task, errors in self.errors.items()},
        }

    def to_peft(self, task: str, directory: str | Path, *, overwrite: bool = False) -> None:
        """Write one task back as a plain PEFT adapter directory; whole or not at all.

        Raises:
            TaskError: no such task.
            MergeError: the task is more than an adapter.
            OutputError: ``directory`` exists and ``overwrite`` is false, or it cannot be written.
        """
        factors = self.task_factors(task)
        if any(Target.parse(module).role is Role.SURGERY for module in factors):
            raise MergeError(
                f"method {self.method} corrects features of task {task!r} beside its adapter; "
                "PEFT has no place for that, export a bundle"
            )
        with output_directory(directory, ADAPTER, overwrite=overwrite) as staging:
            write_adapter(staging, factors, self.base_model, self.task_type)


@dataclass(frozen=True)
class MergedAdapters(Merged):
    """T tasks' factors after merging, with what they share stored once.

    Attributes:
        method: the merging method's name.
        settings: the method's options, and the relative error of a projection, for the record.
        base_model: identifier of the base model.
        tasks: the T task names.
        modules: dotted module name -> its two sides.
        adapter_bytes: fp16 bytes of the adapters that went in.
        errors: task -> module -> relative error of the delta.
        task_type: PEFT's name of the kind of base model.
    """

    method: str
    settings: Mapping[str, Setting]
    base_model: str
    tasks: tuple[str, ...]
    modules: Mapping[str, tuple[Side, Side]]
    adapter_bytes: int
    errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    task_type: str | None = PEFT_CAUSAL_LM

    def task_factors(self, task: str) -> dict[str, Factors]:
        """:meth:`factors` of all modules."""
        return {module: self.factors(task, module) for module in self.modules}

    def factors(self, task: str, module: str) -> Factors:
        """``A [r, in]`` and ``B [out, r]`` of one task and module, float32.

        Raises:
            TaskError: no such task.
        """
        index = self.index(task)
        a, b = self.modules[module]
        return Factors(a.factor(index), b.factor(index))

    def index(self, task: str) -> int:
        """Position of ``task`` among the tasks; raises ``TaskError`` if there is none."""
        if task not in self.tasks:
            raise TaskError(f"no task {task!r}; there are: {', '.join(self.tasks)}")
        return self.tasks.index(task)

    def stored_tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor that :meth:`save` writes, each shared one once."""
        return {
            name: tensor
            for module, sides in self.modules.items()
            for letter, side in zip("AB", sides, strict=True)
            for name, tensor in side.stored(f"{module}.{letter}").items()
        }

    @property
    def stored_bytes(self) -> int:
        """Bytes of the tensor file, header included."""
        return safetensors_bytes(self.stored_tensors())

    def save(self, directory: str | Path, *, overwrite: bool = False) -> None:
        """Write the tensors in fp16, the description and a card; whole or not at all.

        Raises:
            OutputError: ``directory`` exists and ``overwrite`` is false, or it cannot be written.
        """
        with output_directory(directory, MERGED, overwrite=overwrite) as staging:
            write_tensors(staging / TENSORS, self.stored_tensors())
            write_description(staging, self.describe(), (TENSORS,))
            write_card(staging, self.describe())

    @classmethod
    def load(cls, directory: str | Path) -> "MergedAdapters":
        """Read what :meth:`save` wrote.

        Raises:
            BundleError: a missing, damaged or newer-format file.
        """
        directory = Path(directory)
        about = read_description(directory)
        try:
            tensors = file_tensors(directory / TENSORS)
            tasks = tuple(about["tasks"])
            return cls(
                about["method"],
                about["settings"],
                about["base_model"],
                tasks,
                {module: _restored(module, tensors, len(tasks)) for module in about["modules"]},
                about["adapter_bytes"],
                about["errors"],
                about["task_type"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"{directory / TENSORS} is missing or damaged or does not fit {DESCRIPTION} "
                f"({shortened(error)}); merge again"
            ) from error


def _restored(module: str, tensors: Mapping[str, torch.Tensor], tasks: int) -> tuple[Side, Side]:
    """Both sides of a module; raises ``ValueError`` if they do not fit each other."""
    a = Side.restored(f"{module}.A", tensors, tasks)
    b = Side.restored(f"{module}.B", tensors, tasks)
    if a.stack.shape[1] != b.stack.shape[2]:
        raise ValueError(
            f"{module} has ranks {a.stack.shape[1]} and {b.stack.shape[2]}, expected equal ones"
        )
    return a, b
