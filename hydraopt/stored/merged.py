"""``MergedAdapters``: the result of every merging method."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..errors import BundleError, check_task
from ..factors import Factors, Places, placed
from ..files import safetensors_bytes, write_tensors
from ..formats.stored import DESCRIPTION, TENSORS, read_description
from ..reading import file_tensors, shortened
from .adapters import StoredAdapters, described
from .side import Side


@dataclass(frozen=True)
class MergedAdapters(StoredAdapters):
    """The factors of T tasks after merging; shared factors are stored once.

    Attributes:
        base_model: identifier of the base model.
        tasks: names of the T tasks.
        modules: dotted module name -> sides A and B.
    """

    base_model: str
    tasks: tuple[str, ...]
    modules: Mapping[str, tuple[Side, Side]]

    def task_factors(self, task: str) -> dict[str, Factors]:
        """Return :meth:`factors` of all modules."""
        return {module: self.factors(task, module) for module in self.modules}

    def factors(self, task: str, module: str) -> Factors:
        """Return ``A [r, in]`` and ``B [out, r]`` of one task and module, float32.

        Raises:
            TaskError: unknown task.
        """
        index = self.index(task)
        a, b = self.modules[module]
        return Factors(a.factor(index), b.factor(index))

    def index(self, task: str) -> int:
        """Return the index of ``task``; raises ``TaskError`` for an unknown task."""
        check_task(task, self.tasks)
        return self.tasks.index(task)

    def stored_tensors(self) -> dict[str, torch.Tensor]:
        """Return every tensor that is written; shared tensors appear once."""
        return {
            name: tensor
            for module, sides in self.modules.items()
            for letter, side in zip("AB", sides, strict=True)
            for name, tensor in side.stored(f"{module}.{letter}").items()
        }

    def placed(self, places: Places) -> "MergedAdapters":
        """Return the adapters with renamed modules, without those whose place is None."""
        errors = {task: placed(of_task, places) for task, of_task in self.errors.items()}
        return replace(self, modules=placed(self.modules, places), errors=errors)

    @property
    def one_for_all(self) -> bool:
        """Whether all tasks have the same adapter."""
        sides = [side for both in self.modules.values() for side in both]
        return len(self.tasks) == 1 or all(side.is_shared for side in sides)

    @property
    def stored_bytes(self) -> int:
        """Size of the tensor file in bytes, header included."""
        return safetensors_bytes(self.stored_tensors())

    def write_factors(self, directory: Path) -> tuple[tuple[str, ...], None]:
        """Write the fp16 tensors."""
        write_tensors(directory / TENSORS, self.stored_tensors())
        return (TENSORS,), None

    @classmethod
    def load(cls, directory: str | Path) -> "MergedAdapters":
        """Read what :meth:`~.StoredAdapters.save` wrote.

        Raises:
            BundleError: a file is missing, damaged or of another format version.
        """
        directory = Path(directory)
        about = read_description(directory)
        try:
            tensors = file_tensors(directory / TENSORS)
            tasks = tuple(about["tasks"])
            return cls(
                base_model=about["base_model"],
                tasks=tasks,
                modules={x: _restored(x, tensors, len(tasks)) for x in about["modules"]},
                **described(about),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"{directory / TENSORS} is missing or damaged or does not fit {DESCRIPTION} "
                f"({shortened(error)}); merge again"
            ) from error


def _restored(module: str, tensors: Mapping[str, torch.Tensor], tasks: int) -> tuple[Side, Side]:
    """Restore both sides of a module; raises ``ValueError`` if their ranks differ."""
    a = Side.restored(f"{module}.A", tensors, tasks)
    b = Side.restored(f"{module}.B", tensors, tasks)
    if a.stack.shape[1] != b.stack.shape[2]:
        raise ValueError(
            f"{module} has ranks {a.stack.shape[1]} and {b.stack.shape[2]}, expected equal ones"
        )
    return a, b
