"""LoRA adapters in memory, with the scale folded into B: ``delta = B @ A``."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..errors import AdapterError
from ..factors import Factors, Places, Size, Stack, placed
from ..reading import shortened
from .base_weights import BaseWeights, Fingerprint, united
from .file_factors import FileFactors
from .task_types import PEFT_CAUSAL_LM

FP16_BYTES = 2
TASK_NAME = re.compile(r"\w[\w.+-]{0,99}")  # also used as a file name


@dataclass(frozen=True)
class LoraAdapter:
    """The adapter of one task.

    Attributes:
        name: the task's name.
        base_model: identifier of the base model.
        factors: dotted module name -> factors; of an adapter in a file they are read when they are
            asked for.
        heads: the task's own classifier, see :mod:`hydraopt.factors.heads`; never merged.
        task_type: PEFT's task type; None if the configuration has none.
        base_weights: fingerprints of the base weights that PEFT saved with the adapter, see
            :mod:`hydraopt.adapters.base_weights`.
    """

    name: str
    base_model: str
    factors: Mapping[str, Factors]
    heads: Mapping[str, Factors] = field(default_factory=dict)
    task_type: str | None = PEFT_CAUSAL_LM
    base_weights: Mapping[str, Fingerprint] = field(default_factory=dict)

    def placed(self, places: Places) -> "LoraAdapter":
        """Return the adapter with renamed modules, without those whose place is None."""
        own = self.factors
        factors = own.placed(places) if isinstance(own, FileFactors) else placed(own, places)
        return replace(self, factors=factors, heads=placed(self.heads, places))

    def only(self, module: str) -> "LoraAdapter":
        """Return the adapter with one module alone, or none if it lacks that."""
        own, heads = self.factors, self.heads
        if isinstance(own, FileFactors):
            factors: Mapping[str, Factors] = own.only(module)
        else:
            factors = {module: own[module]} if module in own else {}
        return replace(
            self, factors=factors, heads={module: heads[module]} if module in heads else {}
        )

    @cached_property
    def sizes(self) -> Mapping[str, Size]:
        """Module -> the size of its factors."""
        if isinstance(self.factors, FileFactors):
            return self.factors.sizes
        return {module: factors.size for module, factors in self.factors.items()}

    def content(self) -> Iterator[bytes]:
        """Yield each module's name and the values of its factors, sorted by name, for a digest."""
        for module in sorted(self.factors):
            a, b = (side.contiguous().numpy().tobytes() for side in self.factors[module])
            yield module.encode() + a + b

    def update(self, module: str, shape: tuple[int, int]) -> Factors:
        """Return one module's factors; if the adapter lacks it, zeros of ``shape`` (out, in)."""
        if module not in self.factors:
            return Factors.zero(shape)
        return self.factors[module]


@dataclass(frozen=True)
class AdapterSet:
    """Adapters of one base model, in the order given.

    Raises:
        AdapterError: no adapters; invalid or duplicate names; different base models, task types or
            head layers; or different ``(out, in)`` shapes of one module.
    """

    adapters: tuple[LoraAdapter, ...]

    def __init__(self, adapters: Iterable[LoraAdapter]):
        object.__setattr__(self, "adapters", tuple(adapters))
        if not self.adapters:
            raise AdapterError("no adapters given, expected at least one PEFT directory")
        self._check_names()
        self._check_bases()
        self._check_shapes()
        self._check_heads()
        self._check_task_types()

    @property
    def tasks(self) -> tuple[str, ...]:
        """The adapters' names."""
        return tuple(adapter.name for adapter in self.adapters)

    @property
    def base_model(self) -> str:
        """Identifier of the base model."""
        return self.adapters[0].base_model

    @property
    def task_type(self) -> str | None:
        """PEFT's task type; None if no adapter has one."""
        return next((x.task_type for x in self.adapters if x.task_type is not None), None)

    @property
    def base_weights(self) -> BaseWeights:
        """Fingerprints of base weights that were saved with any adapter."""
        return united([adapter.base_weights for adapter in self.adapters])

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """``(out, in)`` of every module that any adapter has, sorted by name."""
        sizes = (adapter.sizes.items() for adapter in self.adapters)
        return dict(sorted((module, size.shape) for own in sizes for module, size in own))

    @property
    def all_shapes(self) -> dict[str, tuple[int, int]]:
        """:attr:`shapes`, and the shapes of the first adapter's heads."""
        heads = self.adapters[0].heads.items()
        return {**self.shapes, **{name: head.shape for name, head in heads}}

    def placed(self, places: Places) -> "AdapterSet":
        """Return the adapters with renamed modules, without those whose place is None."""
        return AdapterSet(adapter.placed(places) for adapter in self.adapters)

    def only(self, module: str) -> "AdapterSet":
        """Return the adapters with one module alone, for work in another process."""
        return AdapterSet(adapter.only(module) for adapter in self.adapters)

    def stack(self, module: str) -> Stack:
        """Return all adapters' factors of one module, stacked, float64."""
        owned = [
            (task, adapter.factors[module])
            for task, adapter in enumerate(self.adapters)
            if module in adapter.factors
        ]
        return Stack.of(owned)

    @property
    def max_rank(self) -> int:
        """Largest rank of any module of any adapter."""
        return max(size.rank for x in self.adapters for size in x.sizes.values())

    @property
    def fp16_bytes(self) -> int:
        """Bytes of all factors and heads in fp16: the denominator of every storage share."""
        return FP16_BYTES * sum(
            size.values
            for x in self.adapters
            for size in (*x.sizes.values(), *(head.size for head in x.heads.values()))
        )

    def _check_names(self) -> None:
        for task in self.tasks:
            if not TASK_NAME.fullmatch(task):
                raise AdapterError(
                    f"task name {task!r}, expected up to 100 letters, digits and . + - _; "
                    "name it with NAME=DIRECTORY"
                )
        name, count = Counter(task.casefold() for task in self.tasks).most_common(1)[0]
        if count > 1:
            raise AdapterError(
                f"{count} adapters are named {name!r}, expected one of each; "
                "name them with NAME=DIRECTORY"
            )

    def _check_bases(self) -> None:
        first = self.adapters[0]
        for other in self.adapters[1:]:
            if other.base_model != first.base_model:
                raise AdapterError(
                    f"adapter {other.name!r} is for base model {other.base_model!r}, expected "
                    f"{first.base_model!r} as for {first.name!r}; merge adapters of one base "
                    "(if both names mean one model, edit base_model_name_or_path)"
                )

    def _check_shapes(self) -> None:
        for adapter in self.adapters:
            for module, size in adapter.sizes.items():
                if size.shape != self.shapes[module]:
                    raise AdapterError(
                        f"adapter {adapter.name!r}, module {module}: shape {size.shape} "
                        f"(out, in), expected {self.shapes[module]} as in the other adapters; "
                        "they were trained on different base models"
                    )

    def _check_heads(self) -> None:
        first, *others = ({n: h.shape for n, h in x.heads.items()} for x in self.adapters)
        for adapter, shapes in zip(self.adapters[1:], others, strict=True):
            if shapes != first:
                raise AdapterError(
                    f"adapter {adapter.name!r} has {_heads(shapes)}, expected {_heads(first)} as "
                    f"{self.adapters[0].name!r} has; merge adapters of one kind"
                )

    def _check_task_types(self) -> None:
        first, *others = [x for x in self.adapters if x.task_type is not None] or [self.adapters[0]]
        for other in others:
            if other.task_type != first.task_type:
                raise AdapterError(
                    f"adapter {other.name!r} has task_type {shortened(other.task_type)}, expected "
                    f"{shortened(first.task_type)} as {first.name!r} has; merge adapters of one "
                    "task type (if one of them is wrong, edit adapter_config.json)"
                )


def _heads(shapes: Mapping[str, tuple[int, int]]) -> str:
    heads = [f"{name} of {width} features" for name, (_, width) in shapes.items()]
    return ", ".join(heads) or "no head"
