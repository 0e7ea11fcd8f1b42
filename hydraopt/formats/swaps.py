"""The manifest's record of how a program switches tasks, one class for each mode."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .pack import Pack
from .records import FileRecord, parse_records

INPUTS, TASK_METHODS, DATA, STATIC = "inputs", "methods", "data", "static"


@dataclass(frozen=True)
class Inputs:
    """Factors are the last inputs of ``forward``; ``unpack`` makes them of a task's pack.

    Attributes:
        packs: task -> where its pack is.
        factors: shapes by name: the outputs of ``unpack``, in the order in which ``forward`` takes
            them.
        binding: hex of the 16 bytes that bind packs to their layout and shared payload.
        static_rows: whether shared rows are layers of the program. Then
            ``unpack`` takes a task's payload alone; else the shared payload, which is one of the
            bundle's files, and the task's.
        constant_bytes: bytes of these layers.
        growth: path inside the bundle -> size and hash of files that ``hydraopt add`` and
            ``verify --base`` read, but a phone does not: the layout, and the shared pack if
            shared rows are layers.
    """

    mode: ClassVar[str] = INPUTS
    packs: Mapping[str, Pack]
    factors: Mapping[str, tuple[int, ...]]
    binding: str
    static_rows: bool
    constant_bytes: int
    growth: Mapping[str, FileRecord]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names."""
        return tuple(self.packs)


@dataclass(frozen=True)
class Methods:
    """A fixed set of tasks, one method for each.

    Attributes:
        methods: task -> name of its method.
        constant_bytes: bytes of the factors, which are constants of the program.
    """

    mode: ClassVar[str] = TASK_METHODS
    packs: ClassVar[Mapping[str, Pack]] = {}
    growth: ClassVar[Mapping[str, FileRecord]] = {}
    methods: Mapping[str, str]
    constant_bytes: int

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names."""
        return tuple(self.methods)


@dataclass(frozen=True)
class Data:
    """The program is loaded with a .ptd file of a task's factors.

    Attributes:
        packs: task -> location of its .ptd file.
    """

    mode: ClassVar[str] = DATA
    growth: ClassVar[Mapping[str, FileRecord]] = {}
    packs: Mapping[str, Pack]
    constant_bytes: ClassVar[int] = 0

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names."""
        return tuple(self.packs)


@dataclass(frozen=True)
class Static:
    """One adapter for all tasks, in the method ``forward``.

    Attributes:
        tasks: names of the tasks.
        constant_bytes: bytes of the adapter beside the base's own weights.
    """

    mode: ClassVar[str] = STATIC
    packs: ClassVar[Mapping[str, Pack]] = {}
    growth: ClassVar[Mapping[str, FileRecord]] = {}
    tasks: tuple[str, ...]
    constant_bytes: int


Swap = Inputs | Methods | Data | Static


def read_swap(fields: Mapping) -> Swap:
    """Parse a manifest's ``swap``, which must match the schema."""
    match fields:
        case {"mode": "inputs", "packs": packs, "factors": factors, "growth": growth, **rest}:
            shapes = {name: tuple(shape) for name, shape in factors.items()}
            return Inputs(_packs(packs), shapes, growth=parse_records(growth), **rest)
        case {"mode": "methods", **rest}:
            return Methods(**rest)
        case {"mode": "data", "packs": packs}:
            return Data(_packs(packs))
        case _:
            return Static(tuple(fields["tasks"]), fields["constant_bytes"])


def _packs(fields: Mapping[str, Mapping]) -> dict[str, Pack]:
    return {task: Pack(**pack) for task, pack in fields.items()}
