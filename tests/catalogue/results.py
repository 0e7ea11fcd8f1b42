"""Wrong results of profiles, checkpoints of trainings and points of frontiers."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir
from copy import deepcopy
from functools import reduce
from pathlib import Path

from hydraopt.evaluation.points import _read

from .case import Case, Change
from .changes import NO_DATA, NO_DOCUMENTS, NO_FILES, cut, wrong_files
from .command import Done, run_here
from .world import RESULTS

FILE = "results/results.json"
COMPARE = ("compare", "results", "results/results.json")
VALUES = (None, True, -1, 0, "x", [], {}, [[]], 10**30, "x" * (1 << 20))


def profiles() -> Iterator[Case]:
    """``results.json``, any field of which may be anything."""
    for name, change in wrong_files(FILE, NO_DOCUMENTS).items():
        yield Case(name, COMPARE, "result", change)
    for path in places(RESULTS):
        for value in VALUES:
            name = f"{'.'.join(map(str, path))} {str(value)[:9]!r}"
            yield Case(name, COMPARE, change=_with(path, value), may_pass=True)
        yield Case(f"no {'.'.join(map(str, path))}", COMPARE, change=_with(path), may_pass=True)
    for says, path, value in (
        ("is partial", ("status",), "partial"),
        ("different devices", ("device", "model"), "other"),
        ("prompts of", ("settings", "prompt"), 9),
        ("format version 3", ("format_version",), 3),
    ):
        other = ("compare", "results", "later.json")
        yield Case(says, other, says, _later(path, value))


def places(value: object, path: tuple = ()) -> Iterator[tuple]:
    """The path of every value in a document."""
    inner: Sequence[tuple] = ()
    if isinstance(value, Mapping):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))[:1]
    for key, child in inner:
        yield (*path, key)
        yield from places(child, (*path, key))


def replaced(document: dict, path: tuple, *value: object) -> dict:
    """A document with another value at a path, or without it."""
    changed = deepcopy(document)
    place = _at(changed, path[:-1])
    if value:
        place[path[-1]] = value[0]
    else:
        del place[path[-1]]
    return changed


def _at(document: dict, path: tuple) -> object:
    return reduce(lambda place, key: place[key], path, document)


def _with(path: tuple, *value: object) -> Change:
    return lambda world: (world / FILE).write_text(json.dumps(replaced(RESULTS, path, *value)))


def _later(path: tuple, value: object) -> Change:
    later = json.dumps(replaced(RESULTS, path, value))
    return lambda world: (world / "later.json").write_text(later)


TRAIN = ("--base", "base", "--data", "data.jsonl", "-o", "out", "--steps", "2", "--resume")


def checkpoints() -> Iterator[Case]:
    """A checkpoint that ``--resume`` finds."""
    for kind in ("sparse", "hydralora"):
        options = ("--experts", "2") if kind == "hydralora" else ()
        command = ("train", kind, *TRAIN, *options)
        for name, change in wrong_files("checkpoint", NO_DATA).items():
            if name != "missing":
                says = "there is no checkpoint|checkpoint .* is damaged"
                yield Case(f"{kind}: {name}", command, says, _checkpoint(command, change))
        half = _checkpoint(command, cut("checkpoint", 1))
        yield Case(f"{kind}: half of one", command, "checkpoint", half)


def _checkpoint(command: tuple[str, ...], change: Change) -> Change:
    """Put a wrong file where the command looks for its checkpoint."""

    def place(world: Path) -> None:
        with chdir(world):
            printed = run_here(command).stderr
        found = re.search(r"there is no checkpoint (\S+) for", printed)
        assert found, printed
        (world / "checkpoint").write_bytes(b"PK\3\4" + bytes(50))
        change(world)
        (world / "checkpoint").rename(found[1])

    return place


def points() -> Iterator[Case]:
    """A kept point of a frontier that is not what was kept is measured again."""
    scores = {"alpha": 0.5}
    kept = dict.fromkeys(("scores", "tokens", "nats", "generated", "chrf"), scores)
    point = {"of": "x", "result": {"series": "s", "label": "l", "share": 0.1, **kept}}
    wrong = dict(NO_DOCUMENTS)
    for path in places(point):
        for value in (None, True, [], [[]], "y", -1):
            if type(value) is not type(_at(point, path)) and not (_is_number(path) and value == -1):
                name = f"{'.'.join(path)} {str(value)[:9]!r}"
                wrong[name] = json.dumps(replaced(point, path, value)).encode()
    for name, data in wrong.items():
        yield Case(name, (), "measured again", _point(data), run=_reads_point)
    for name, change in NO_FILES.items():
        yield Case(name, (), "measured again", _no_point(change), run=_reads_point)


def _is_number(path: tuple) -> bool:
    return path[-1] in ("share", "alpha")


def _point(data: bytes) -> Change:
    return lambda world: (world / "point.json").write_bytes(data)


def _no_point(change: object) -> Change:
    def both(world: Path) -> None:
        (world / "point.json").write_bytes(b"{}")
        change("point.json")(world)

    return both


def _reads_point(_: tuple[str, ...]) -> Done:
    found = _read(Path("point.json"), "x")
    return Done(1, "", "error: measured again\n") if found is None else Done(0, str(found), "")
