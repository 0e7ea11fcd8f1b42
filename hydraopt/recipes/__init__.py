"""Recipes: model families, from adapters to a checked bundle in one step.

Each family is a module with a ``FAMILY``; see the table in the repository's ``export/README.md``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from .family import Family

Name = Literal[
    "smollm2", "llama3", "qwen2", "qwen3", "gemma3", "bert", "modernbert", "minilm", "vit"
]
FAMILIES: tuple[Name, ...] = get_args(Name)


def find_family(name: Name) -> "Family":
    """Return one of :data:`FAMILIES`; imports transformers."""
    return import_module(f".{name}", __name__).FAMILY
