"""Targets: the layer that a task's factors change, and their role.

In memory, layouts and files a target is one string, its *module*: the layer's dotted name with the
role's suffix. Factors of every role are stored, packed and switched alike; only code that applies
them to a model, or must not change heads, distinguishes roles.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, TypeVar

Places = Mapping[str, str | None]  # module -> its other name; None: no such module there
T = TypeVar("T")


class Role(StrEnum):
    """What A and B do to a layer; the value is the suffix of the module's name."""

    UPDATE = ""  # layer(x) + B A x
    SURGERY = ".surgery"  # layer(x + B relu(A x)), see surgery.py
    HEAD = ".task_head"  # A x + B instead of layer(x), see heads.py


class Target(NamedTuple):
    """A layer of the base model, by its dotted name, and the role of its factors."""

    layer: str
    role: Role = Role.UPDATE

    @classmethod
    def parse(cls, module: str) -> "Target":
        """Parse a module's name: the inverse of :attr:`module`."""
        for role in (Role.SURGERY, Role.HEAD):
            if module.endswith(role):
                return cls(module.removesuffix(role), role)
        return cls(module)

    @property
    def module(self) -> str:
        """Name of the module that holds the factors."""
        return self.layer + self.role


def is_head(module: str) -> bool:
    """Return whether a module is a head."""
    return Target.parse(module).role is Role.HEAD


def placed(parts: Mapping[str, T], places: Places) -> dict[str, T]:
    """Rename the keys of ``parts`` by ``places``, and drop modules whose place is None.

    Modules that ``places`` does not contain keep their names.
    """
    names = {module: places.get(module, module) for module in parts}
    return {name: parts[module] for module, name in names.items() if name is not None}
