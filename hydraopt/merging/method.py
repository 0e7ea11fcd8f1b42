"""A merging method as ``METHODS`` knows it, and its options as text: types, defaults, mistakes."""

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
    """A merging method as ``hydraopt methods`` lists it.

    Attributes:
        name: what ``--method`` takes.
        function: ``function(adapters, *, options…) -> MergedAdapters``; one that needs data takes
            it as its second argument.
        paper: its name and where it is from.
        per_task: whether the tasks keep a delta each; otherwise they get one for all.
        needs: what it needs beside the adapters: the base model with prompts ("data"), or with
            prompts and answers ("labels").
        storage: fp16 values that the method's own representation takes for one module of shape
            m x n: T tasks, adapters of rank r, its options R (rank) and K (clusters).
    """

    name: str
    function: Callable[..., MergedAdapters]
    paper: str
    per_task: bool
    needs: Literal["nothing", "data", "labels"]
    storage: str

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The keyword-only parameters of its function."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}

    def describe(self) -> dict:
        """Everything that ``hydraopt methods`` shows, ready for JSON."""
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
        """Call its function, with ``data`` if it needs some.

        Raises:
            UsageError: data is missing, or given to a method that takes none.
            DataError: data that does not fit the adapters.
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
        """``value`` of the option ``name``, parsed if it is text.

        Raises:
            UsageError: no such option, or a text that is none of its types.
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
