"""The layout: the directions of every module, and the bits of each row and column.

A module's delta is ``D_t = sum_j b_tj a_jᵀ``, a sum of rank-one *directions*. Row ``a_j [in]`` and
column ``b_tj [out]`` are vectors, stored as codes with one step each; either may be shared by all
tasks. All tasks have the same layout, which fixes the shapes of a program's inputs; an adapter
that is added later is coded into it, too.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..documents import read_document
from ..errors import BundleError
from .codes import CODEC, packed_bytes
from .pack import SHARED, read_shared_pack

FORMAT_VERSION = 3
LAYOUT = "layout.json"
WRITER = "hydraopt compress"
SIDES = "AB"
MOST_DIRECTIONS = 1 << 22  # in all modules


class Code(NamedTuple):
    """Storage of a vector: bits per value, and whether all tasks share it."""

    bits: float
    shared: bool = False


class Direction(NamedTuple):
    """A rank-one direction: a row of A and a column of B."""

    row: Code
    column: Code


@dataclass(frozen=True)
class ModuleLayout:
    """The directions of one module.

    Attributes:
        shape: ``(out, in)`` of the adapted layer.
        directions: its R directions.
        largest_steps: largest step of a row and of a column, see docs/formats.md.
    """

    shape: tuple[int, int]
    directions: tuple[Direction, ...]
    largest_steps: tuple[float, float]

    def length(self, side: str) -> int:
        """Return the length of a row (``A``: in) or column (``B``: out)."""
        return self.shape[SIDES[::-1].index(side)]

    def codes(self, side: str) -> tuple[Code, ...]:
        """Return the codes of all rows (``A``) or columns (``B``)."""
        return tuple(direction[SIDES.index(side)] for direction in self.directions)

    @property
    def shared_rows(self) -> int:
        """Number of shared rows, which come first."""
        return sum(code.shared for code in self.codes("A"))

    def bytes(self, *, shared: bool) -> int:
        """Return the bytes of codes and steps: of the shared vectors, or of one task's own."""
        return sum(
            packed_bytes(self.length(side), code.bits) + 1
            for side in SIDES
            for code in self.codes(side)
            if code.shared == shared
        )

    @property
    def _runs(self) -> list[tuple[int, Direction]]:
        """Run-length encoding of the directions."""
        return [(len(list(same)), direction) for direction, same in groupby(self.directions)]

    def text(self) -> str:
        """Return the module's JSON in ``layout.json``, with run-length encoded directions."""
        return _dump(
            {
                "shape": self.shape,
                "largest_steps": self.largest_steps,
                "directions": [
                    [count, *([code.bits, int(code.shared)] for code in direction)]
                    for count, direction in self._runs
                ],
            }
        )

    def summary(self) -> str:
        """Return the bits of row and column by run of directions: ``8 x 4s/2`` (s: shared)."""
        return ", ".join(f"{count} x {_name(d.row)}/{_name(d.column)}" for count, d in self._runs)


class Vector(NamedTuple):
    """A row (side ``A``) or column (``B``) of one direction of a module, and its largest step."""

    module: str
    side: str
    direction: int
    largest_step: float


@dataclass(frozen=True)
class Section:
    """Part of a payload: all n vectors of one length and number of bits.

    It consists of the packed codes, ``[n, width]`` bytes, and the n steps, one byte each.
    """

    offset: int
    bits: float
    length: int
    vectors: tuple[Vector, ...]

    @property
    def width(self) -> int:
        """Bytes of a vector's codes."""
        return packed_bytes(self.length, self.bits)

    @property
    def steps(self) -> int:
        """Offset of the steps."""
        return self.offset + len(self.vectors) * self.width

    @property
    def end(self) -> int:
        """Offset of the next section."""
        return self.steps + len(self.vectors)


@dataclass(frozen=True)
class Layout:
    """The layout of all packs of a bundle: dotted module name -> its directions."""

    base_model: str
    modules: Mapping[str, ModuleLayout]

    @cached_property
    def shared(self) -> tuple[Section, ...]:
        """Sections of the shared payload."""
        return self._sections(shared=True)

    @cached_property
    def task(self) -> tuple[Section, ...]:
        """Sections of each task's payload."""
        return self._sections(shared=False)

    def _sections(self, *, shared: bool) -> tuple[Section, ...]:
        found: dict[tuple[float, int], list[Vector]] = {}
        for name, module in self.modules.items():
            for side, largest_step in zip(SIDES, module.largest_steps, strict=True):
                for index, code in enumerate(module.codes(side)):
                    if code.shared == shared:
                        vectors = found.setdefault((code.bits, module.length(side)), [])
                        vectors.append(Vector(name, side, index, largest_step))
        sections, offset = [], 0
        for (bits, length), vectors in sorted(found.items()):
            sections.append(Section(offset, bits, length, tuple(vectors)))
            offset = sections[-1].end
        return tuple(sections)

    def factors(self, *, static_rows: bool) -> Iterator[tuple[str, str, range]]:
        """Yield ``(module, side, directions)`` of every factor, in the order of a program.

        Args:
            static_rows: leave out shared rows, which are layers of the program.
        """
        for name, module in self.modules.items():
            for side in SIDES:
                first = module.shared_rows if static_rows and side == "A" else 0
                if found := range(first, len(module.directions)):
                    yield name, side, found

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Module -> ``(out, in)``."""
        return {name: module.shape for name, module in self.modules.items()}

    @property
    def shares_rows(self) -> bool:
        """Whether all rows are shared, so that tasks can be mixed at their rank."""
        return all(code.shared for module in self.modules.values() for code in module.codes("A"))

    @property
    def shares_columns(self) -> bool:
        """Whether any column is shared."""
        return any(code.shared for module in self.modules.values() for code in module.codes("B"))

    @classmethod
    def read(cls, path: Path) -> "Layout":
        """Read ``layout.json``.

        Raises:
            BundleError: the file is missing, damaged or of another format version.
        """
        fields = read_document(path, "layout", FORMAT_VERSION, WRITER)
        described = fields["modules"]
        counts = (run[0] for module in described.values() for run in module["directions"])
        if (total := sum(counts)) > MOST_DIRECTIONS:  # before there are as many objects
            raise BundleError(
                f"{path} is damaged: {total:,} directions, expected at most {MOST_DIRECTIONS:,}; "
                "copy it again"
            )
        modules = {name: _module(module) for name, module in described.items()}
        for name, module in modules.items():
            shared = [direction.row.shared for direction in module.directions]
            if shared != sorted(shared, reverse=True):
                raise BundleError(
                    f"{path} is damaged: {name} has private rows before shared ones; copy it again"
                )
        return cls(fields["base_model"], modules)

    def text(self) -> str:
        """Return the content of ``layout.json``."""
        modules = ",".join(f"{_dump(name)}:{x.text()}" for name, x in self.modules.items())
        head = {"format_version": FORMAT_VERSION, "codec": CODEC, "base_model": self.base_model}
        return f'{_dump(head)[:-1]},"modules":{{{modules}}}}}\n'

    def binding(self, shared: np.ndarray) -> bytes:
        """Return the 16 bytes that bind packs to this layout and its shared payload."""
        return hashlib.sha256(self.text().encode() + shared.tobytes()).digest()[:16]


def read_layout(directory: Path, binding: str | None = None) -> tuple[Layout, np.ndarray]:
    """Read the layout and the shared payload, uint8 ``[Ns]``, of compressed adapters or a bundle.

    Args:
        directory: the directory of either.
        binding: expected binding in hex, as in the bundle's manifest; None: no check.

    Raises:
        BundleError: a file is missing, damaged or from another bundle.
    """
    layout = Layout.read(directory / LAYOUT)
    shared = read_shared_pack(directory / SHARED, payload_bytes(layout.shared))
    if binding is not None and layout.binding(shared).hex() != binding:
        raise BundleError(
            f"{LAYOUT} or {SHARED} of {directory} is from another bundle: the packs are bound to "
            "other ones; export or copy the bundle again"
        )
    return layout, shared


def payload_bytes(sections: Sequence[Section]) -> int:
    """Return the size of a payload in bytes."""
    return sections[-1].end if sections else 0


def _module(fields: Mapping) -> ModuleLayout:
    directions = [
        Direction(Code(row[0], bool(row[1])), Code(column[0], bool(column[1])))
        for count, row, column in fields["directions"]
        for _ in range(count)
    ]
    return ModuleLayout(tuple(fields["shape"]), tuple(directions), tuple(fields["largest_steps"]))


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _name(code: Code) -> str:
    return f"{code.bits}{'s' if code.shared else ''}"
