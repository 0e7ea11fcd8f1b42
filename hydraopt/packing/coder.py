"""Code adapters within a byte budget, or one more adapter into an existing layout."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import NamedTuple

import torch

from ..adapters import AdapterSet, LoraAdapter, each_module
from ..errors import BundleError
from ..factors import Factors, is_head
from ..formats.layout import Layout, ModuleLayout
from ..formats.pack import pack_bytes
from ..parallel import each
from ..stored import head_sides, relative_errors
from .allocate import allocate, smallest
from .codec import Coded
from .coded import CodedAdapters, join_vectors, split_payload
from .encode import encode_module, encode_shared
from .spectrum import Spectrum
from .verbatim import encode_heads, layout_of

Key = tuple[str, str, int]  # module, side and direction of a vector


class Unit(NamedTuple):
    """What is coded at a time: a module, candidates for its shared rows, and its factors."""

    name: str
    layout: ModuleLayout
    rows: torch.Tensor | None  # None: a head, or a module without any
    adapters: AdapterSet


@dataclass(frozen=True)
class Coder:
    """Adapters with their spectra, which are computed once for any number of budgets."""

    adapters: AdapterSet
    spectra: Mapping[str, Spectrum]

    @classmethod
    def from_adapters(cls, adapters: AdapterSet, *, mixable: bool = False) -> "Coder":
        """Compute the spectrum of every module; with shared rows only if ``mixable``."""
        measured = partial(Spectrum.from_adapters, rank=adapters.max_rank, mixable=mixable)
        return cls(adapters, each_module(adapters, measured, "measure"))

    @cached_property
    def heads(self) -> dict[str, ModuleLayout]:
        """Layouts of the tasks' heads, which are stored exactly."""
        return {name: layout_of(x) for name, x in head_sides(self.adapters).items()}

    @cached_property
    def smallest(self) -> int:
        """Smallest possible budget in bytes."""
        return self._fixed + sum(self._size(*x) for x in smallest(self.spectra).items())

    def code(self, limit: int) -> CodedAdapters:
        """Code the adapters within ``limit`` bytes, which include layout and headers.

        Raises:
            MergeError: ``limit`` is less than :attr:`smallest`.
        """
        modules = allocate(self.spectra, limit, self._size, self._fixed)
        layout = Layout(self.adapters.base_model, {**modules, **self.heads})
        units = [
            Unit(name, module, self._rows(name), self.adapters.only(name))
            for name, module in layout.modules.items()
        ]
        found = each(_coded, units, "code")
        shared = {key: vector for first, _ in found for key, vector in first.items()}
        tasks = {key: vectors for _, private in found for key, vectors in private.items()}
        payloads = {
            task: join_vectors(
                layout.task, {k: Coded(*(x[i] for x in v)) for k, v in tasks.items()}
            )
            for i, task in enumerate(self.adapters.tasks)
        }
        coded = CodedAdapters(
            "budget",
            {"limit": limit},
            layout,
            join_vectors(layout.shared, shared),
            payloads,
            adapter_bytes=self.adapters.fp16_bytes,
            task_type=self.adapters.task_type,
            base_weights=self.adapters.base_weights,
        )
        return replace(coded, errors=relative_errors(self.adapters, coded))

    def _rows(self, name: str) -> torch.Tensor | None:
        return self.spectra[name].rows if name in self.spectra else None

    @cached_property
    def _fixed(self) -> int:
        """Bytes of the heads, and of layout.json, the shared pack and all tasks' packs if empty."""
        empty = len(Layout(self.adapters.base_model, {}).text().encode())
        headers = pack_bytes(0) * (1 + len(self.adapters.tasks))
        return empty + headers + sum(self._size(*x) for x in self.heads.items())

    def _size(self, name: str, module: ModuleLayout) -> int:
        return _size(name, module, len(self.adapters.tasks))


def _coded(unit: Unit) -> tuple[dict[Key, Coded], dict[Key, Coded]]:
    """Return one module's shared vectors, and the private ones, each of all tasks."""
    name, layout, rows, adapters = unit
    first = [] if rows is None else encode_shared(layout, rows)
    factors = [
        x.heads[name] if name in x.heads else x.update(name, layout.shape)
        for x in adapters.adapters
    ]
    shared = {(name, "A", index): vector for index, vector in enumerate(first)}
    return shared, _private(name, layout, first, factors)


@cache
def _size(name: str, module: ModuleLayout, tasks: int) -> int:
    """Return the bytes of one module in layout.json, the shared pack and all tasks' packs."""
    text = len(f"{json.dumps(name, ensure_ascii=False)}:{module.text()},".encode())
    return text + module.bytes(shared=True) + tasks * module.bytes(shared=False)


def encode_adapter(layout: Layout, shared: torch.Tensor, adapter: LoraAdapter) -> torch.Tensor:
    """Code one adapter into an existing layout; return its payload, uint8 ``[Nt]``.

    Args:
        layout: the layout of a bundle.
        shared: its shared payload, uint8 ``[Ns]``.
        adapter: an adapter of modules in the layout; its head may have fewer classes.

    Raises:
        BundleError: the layout has shared columns, so that all tasks have the same adapter.
    """
    first = split_payload(layout.shared, shared)
    own = {**adapter.factors, **adapter.heads}
    vectors: dict[Key, Coded] = {}
    for name, module in layout.modules.items():
        if any(code.shared for code in module.codes("B")):
            raise BundleError("all tasks of this bundle share one adapter; export a new bundle")
        count = sum(code.shared for code in module.codes("A"))
        rows = [first[name, "A", index] for index in range(count)]
        vectors |= _private(name, module, rows, [own.get(name, Factors.zero(module.shape))])
    return join_vectors(layout.task, {k: Coded(*(x[0] for x in v)) for k, v in vectors.items()})


def _private(
    name: str, module: ModuleLayout, shared: list[Coded], factors: list[Factors]
) -> dict[Key, Coded]:
    """Code the private rows and all columns of N tasks, each with N vectors."""
    if is_head(name):
        rows, columns = encode_heads(module, factors)
    else:
        rows, columns = encode_module(module, shared, factors)
    vectors = {(name, "A", len(shared) + index): row for index, row in enumerate(rows)}
    return vectors | {(name, "B", index): column for index, column in enumerate(columns)}
