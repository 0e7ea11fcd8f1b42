"""``StoredAdapters``: the result of compressing or merging, and the input of later stages."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..adapters import (
    ADAPTER,
    PEFT_CAUSAL_LM,
    BaseWeights,
    read_weights,
    write_adapter,
    written_weights,
)
from ..errors import MergeError
from ..factors import Factors, Role, Target, classes_of, is_head
from ..files import output_directory
from ..formats.pack import Pack
from ..formats.stored import STORED, write_description
from .card import write_card

Setting = int | float | bool | str | None  # value of a method's option


@dataclass(frozen=True)
class StoredAdapters(ABC):
    """Base class of compressed and merged adapters, which are saved as directories.

    Attributes:
        method: name of the method.
        settings: options of the method, and the relative error of a projection, for the record.
        adapter_bytes: fp16 bytes of the original adapters.
        errors: task -> module -> relative error of the delta.
        task_type: PEFT's task type.
        base_weights: fingerprints of weights that the base must have.
    """

    method: str
    settings: Mapping[str, Setting]
    _: KW_ONLY
    adapter_bytes: int
    errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    task_type: str | None = PEFT_CAUSAL_LM
    base_weights: BaseWeights = field(default_factory=dict)

    if TYPE_CHECKING:  # fields or properties of the subclasses; a field cannot replace a property

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
        """Return all modules' factors of one task; raises ``TaskError`` for an unknown task."""

    @property
    @abstractmethod
    def one_for_all(self) -> bool:
        """Whether all tasks have the same adapter."""

    @property
    def classes(self) -> dict[str, int]:
        """Task -> number of classes of its head; empty if the tasks have none."""
        heads = list(filter(is_head, self.modules))
        if not heads:
            return {}  # without decoding all factors
        return {
            task: classes_of(factors[name])
            for task in self.tasks
            for factors in [self.task_factors(task)]
            for name in heads
        }

    @property
    def share(self) -> float:
        """Stored bytes as a share of the adapters' fp16 bytes."""
        return self.stored_bytes / self.adapter_bytes

    def describe(self) -> dict:
        """Return everything but the factors as JSON values."""
        return {
            "method": self.method,
            "settings": dict(self.settings),
            "base_model": self.base_model,
            "task_type": self.task_type,
            "base_weights": written_weights(self.base_weights),
            "tasks": list(self.tasks),
            "modules": list(self.modules),
            "adapter_bytes": self.adapter_bytes,
            "stored_bytes": self.stored_bytes,
            "errors": {task: dict(errors) for task, errors in self.errors.items()},
        }

    @abstractmethod
    def write_factors(self, directory: Path) -> tuple[tuple[str, ...], Mapping[str, Pack] | None]:
        """Write the factors; return the names of files other than packs, and task -> pack.

        Merged adapters have no packs: None.
        """

    def save(
        self,
        directory: str | Path,
        *,
        overwrite: bool = False,
        heat_map: bytes | None = None,
    ) -> None:
        """Write the factors, the description and a card, atomically.

        Args:
            directory: output directory.
            overwrite: replace an existing ``directory``.
            heat_map: PNG of the errors, for the card.

        Raises:
            OutputError: ``directory`` exists and ``overwrite`` is false, or it cannot be written.
        """
        with output_directory(directory, STORED, overwrite=overwrite) as staging:
            files, packs = self.write_factors(staging)
            write_description(staging, self.describe(), files, packs)
            write_card(staging, self.describe(), heat_map)

    def to_peft(self, task: str, directory: str | Path, *, overwrite: bool = False) -> None:
        """Write one task as a plain PEFT adapter directory, atomically.

        Raises:
            TaskError: unknown task.
            MergeError: the task also has surgery, which PEFT cannot store.
            AdapterError: a value exceeds the range of fp16.
            OutputError: ``directory`` exists and ``overwrite`` is false, or it cannot be written.
        """
        factors = self.task_factors(task)
        if any(Target.parse(module).role is Role.SURGERY for module in factors):
            raise MergeError(
                f"method {self.method} also corrects features of task {task!r}, which PEFT cannot "
                "store; export a bundle"
            )
        with output_directory(directory, ADAPTER, overwrite=overwrite) as staging:
            write_adapter(staging, factors, self.base_model, self.task_type)


def described(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of both kinds of stored adapters, by name, from their description."""
    names = ("method", "settings", "adapter_bytes", "errors", "task_type")
    weights = read_weights(about.get("base_weights", {}))
    return {**{name: about[name] for name in names}, "base_weights": weights}
