"""Targets: which layer a task's factors change, and how.

In memory, in layouts and in files a target is one string, its *module*: the layer's dotted name and
what its role adds to it. So factors of every role are stored, packed and switched alike; only what
applies them to a model, or must keep heads as they are, tells them apart.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, TypeVar

Places = Mapping[str, str | None]  # module -> its name elsewhere; None: it is not there
T = TypeVar("T")


class Role(StrEnum):
    """What A and B do to a layer; the value is the end of the module's name."""

    UPDATE = ""  # layer(x) + B A x
    SURGERY = ".surgery"  # layer(x + B relu(A x)), see surgery.py
    HEAD = ".task_head"  # A x + B in place of layer(x), see heads.py


class Target(NamedTuple):
    """A layer of the base model, by its dotted name, and what happens to it."""

    layer: str
    role: Role = Role.UPDATE

    @classmethod
    def parse(cls, module: str) -> "Target":
        """The inverse of :attr:`module`; no layer's own name ends like a role's."""
        for role in (Role.SURGERY, Role.HEAD):
            if module.endswith(role):
                return cls(module.removesuffix(role), role)
        return cls(module)

    @property
    def module(self) -> str:
        """The name under which the factors are kept."""
        return self.layer + self.role


def is_head(module: str) -> bool:
    """Whether a module is a task's own classifier."""
    return Target.parse(module).role is Role.HEAD


def placed(parts: Mapping[str, T], places: Places) -> dict[str, T]:
    """Parts of modules by the names of their places, without those that have none.

    Modules that ``places`` does not name stay where they are.
    """
    names = {module: places.get(module, module) for module in parts}
    return {name: parts[module] for module, name in names.items() if name is not None}
