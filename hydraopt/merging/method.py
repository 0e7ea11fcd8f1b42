"""``Method``, an entry of ``METHODS``, and parsing of its options from text."""

import inspect
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ..adapters import AdapterSet
from ..errors import UsageError
from ..fitting import reversed_places
from ..stored import MergedAdapters
from ..training import CalibrationData

KINDS = {int: "an integer", float: "a number", bool: "true or false", types.NoneType: "none"}


@dataclass(frozen=True, kw_only=True)
class Method:
    """A merging method.

    Attributes:
        name: unique name, as listed by ``hydraopt methods``.
        function: ``function(adapters, *, options…) -> MergedAdapters``; with ``needs`` other than
            "nothing" the second argument is the data.
        paper: name and source of the paper.
        per_task: True if each task keeps its own delta, False if all tasks share one.
        needs: input beside the adapters: "data" for the base model with prompts, "labels" for
            prompts with answers.
        storage: number of fp16 values that the method's own representation takes for one m x n
            module, for T tasks of rank r with options R (rank) and K (clusters).
    """

    name: str
    function: Callable[..., MergedAdapters]
    paper: str
    per_task: bool
    needs: Literal["nothing", "data", "labels"]
    storage: str

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """Keyword-only parameters of the function."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}

    def describe(self) -> dict:
        """Return a JSON-compatible record, as ``hydraopt methods`` shows it."""
        return {
            "paper": self.paper,
            "per_task": self.per_task,
            "needs_data": self.needs != "nothing",
            "needs_labels": self.needs == "labels",
            "storage": self.storage,
            "options": {name: option.default for name, option in self.options.items()},
        }

    def merge(
        self, adapters: AdapterSet, data: CalibrationData | None, values: Mapping[str, object]
    ) -> MergedAdapters:
        """Call the function, with ``data`` if the method needs it.

        Raises:
            UsageError: ``data`` is missing, or the method takes none.
            DataError: ``data`` does not fit the adapters.
        """
        if self.needs == "nothing":
            if data is not None:
                raise UsageError(f"method {self.name} takes no data; leave it out")
            return self.function(adapters, **values)
        if data is None:
            raise UsageError(
                f"method {self.name} needs the base model and prompts{self._with_answers}; "
                "pass them as data",
                options=["base", "data"],
            )
        places = data.places(adapters)
        found = adapters.placed(places)
        data.check(found, labels=self.needs == "labels")
        return self.function(found, data, **values).placed(reversed_places(places))

    @property
    def _with_answers(self) -> str:
        return " with answers" if self.needs == "labels" else ""

    def option(self, name: str, value: object) -> object:
        """Return the value of option ``name``, parsed by its annotation if it is text.

        Raises:
            UsageError: there is no such option, or the text has none of its types.
        """
        if name not in self.options:
            known = ", ".join(self.options) or "none"
            raise UsageError(f"method {self.name} has no option {name}; its options: {known}")
        annotation = self.options[name].annotation
        kinds = get_args(annotation) or (annotation,)
        if not isinstance(value, str) or str in kinds or value in kinds:
            return value
        for kind in kinds:
            try:
                return _PARSERS[kind](value)
            except (ValueError, KeyError):
                continue
        expected = " or ".join(KINDS[kind] if kind in KINDS else repr(kind) for kind in kinds)
        raise UsageError(f"option {name} of method {self.name} is {value!r}, expected {expected}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


_PARSERS: dict[type, Callable[[str], object]] = {
    int: int,
    float: _finite,
    bool: {"true": True, "false": False}.__getitem__,
    types.NoneType: {"none": None}.__getitem__,
}
