"""Storage against quality: methods x settings on one set of adapters, in parallel, resumable."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import torch
from joblib import Parallel, delayed
from tqdm import tqdm

from ..adapters import AdapterSet
from ..errors import UsageError
from ..files import write_json
from ..merging import METHODS, Merged, merge_with
from ..packing import CodedAdapters, Coder
from ..training import Examples
from .evaluator import Evaluator
from .plain import PlainAdapters, plain

SHARES = (3, 5, 7, 10, 15, 30, 60)  # percent
PLAIN_BITS = (2, 4, 8)
POINTS = "points"


class Candidate(NamedTuple):
    """One merge to evaluate: its series in the plot, its label, and how to make it."""

    series: str
    label: str
    make: Callable[[AdapterSet], Merged | PlainAdapters]


@dataclass(frozen=True)
class Point:
    """One evaluated merge: its share of the adapters' fp16 bytes, and exact match in [0, 1]."""

    series: str
    label: str
    share: float
    scores: Mapping[str, float]

    @property
    def mean(self) -> float:
        """Mean exact match of all tasks."""
        return mean(self.scores.values())

    @property
    def worst_task(self) -> str:
        """The task of least exact match."""
        return min(self.scores, key=self.scores.__getitem__)

    @property
    def worst(self) -> float:
        """Exact match of the worst task."""
        return self.scores[self.worst_task]

    def summary(self) -> dict[str, float | str]:
        """What a table shows of it."""
        return {"mean": self.mean, "worst": self.worst, "worst_task": self.worst_task}


def candidates(methods: Sequence[str], tasks: int) -> list[Candidate]:
    """What to evaluate of ``methods``: names in ``METHODS``, ``budget`` or ``plain``.

    Raises:
        UsageError: an unknown method, or one that needs data.
    """
    found = []
    for method in methods:
        if method == "budget":
            found += [_budget(percent) for percent in SHARES]
        elif method == "plain":
            found += [
                Candidate("plain", f"int{bits}", partial(plain, bits=bits)) for bits in PLAIN_BITS
            ]
        elif method == "hydraopt":
            counts = sorted({2**i for i in range(tasks.bit_length()) if 2**i <= tasks} | {tasks})
            found += [_hydraopt(count) for count in counts]
        elif method in METHODS and METHODS[method].needs != "nothing":
            raise UsageError(
                f"method {method} needs data of its own; run hydraopt merge --method {method}"
            )
        elif method in METHODS:
            found.append(Candidate(method, method, partial(merge_with, method)))
        else:
            raise UsageError(
                f"no method {method!r}; there are: budget, plain, {', '.join(METHODS)}"
            )
    return found


def _budget(percent: float) -> Candidate:
    return Candidate("budget", f"{percent} %", partial(_within, percent))


def _within(percent: float, adapters: AdapterSet) -> CodedAdapters:
    return Coder.of(adapters).code(int(percent / 100 * adapters.fp16_bytes))


def _hydraopt(clusters: int) -> Candidate:
    return Candidate(
        "hydraopt", f"K = {clusters}", partial(merge_with, "hydraopt", clusters=clusters)
    )


def frontier(
    adapters: AdapterSet,
    base: str,
    examples: Examples,
    methods: Sequence[str],
    directory: Path,
    jobs: int,
) -> list[Point]:
    """Evaluate the unmerged adapters and all candidates; the unmerged ones come first.

    Every point is written to ``directory/points`` as soon as it is known, and taken from there
    when the same adapters, base and examples are evaluated again.

    Raises:
        UsageError: an unknown method.
        DataError: the base cannot be loaded.
    """
    wanted = [None, *candidates(methods, len(adapters.tasks))]
    fingerprint = _fingerprint(adapters, base, examples)
    (directory / POINTS).mkdir(parents=True, exist_ok=True)
    known = {candidate: _read_point(directory, candidate, fingerprint) for candidate in wanted}
    missing = [candidate for candidate, point in known.items() if point is None]
    threads = max(1, (os.cpu_count() or 1) // jobs)
    work = (delayed(_evaluate)(adapters, base, examples, c, threads) for c in missing)
    results = Parallel(n_jobs=jobs, return_as="generator")(work)
    progress = tqdm(results, desc="frontier", total=len(missing), disable=None)
    for candidate, point in zip(missing, progress, strict=True):
        known[candidate] = point
        write_json(_path(directory, candidate), {"of": fingerprint, **asdict(point)})
    return list(known.values())


def _evaluate(
    adapters: AdapterSet, base: str, examples: Examples, candidate: Candidate | None, threads: int
) -> Point:
    torch.set_num_threads(threads)
    evaluator = _evaluator(base, tuple((task, tuple(pairs)) for task, pairs in examples.items()))
    if candidate is None:
        return Point("unmerged", "unmerged", 1.0, evaluator.unmerged(adapters))
    merged = candidate.make(adapters)
    return Point(candidate.series, candidate.label, merged.share, evaluator.merged(merged))


@cache
def _evaluator(base: str, examples: tuple) -> Evaluator:
    """Once per process."""
    return Evaluator.of(base, dict(examples))


def _path(directory: Path, candidate: Candidate | None) -> Path:
    name = f"{candidate.series} {candidate.label}" if candidate else "unmerged"
    return directory / POINTS / f"{name.replace(' ', '-').replace('%', 'percent')}.json"


def _read_point(directory: Path, candidate: Candidate | None, fingerprint: str) -> Point | None:
    try:
        fields = json.loads(_path(directory, candidate).read_text(encoding="utf-8"))
        return Point(**fields) if fields.pop("of") == fingerprint else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _fingerprint(adapters: AdapterSet, base: str, examples: Examples) -> str:
    digest = hashlib.sha256(json.dumps([base, examples], sort_keys=True).encode())
    for part in _parts(adapters):
        digest.update(part)
    return digest.hexdigest()


def _parts(adapters: AdapterSet) -> Iterator[bytes]:
    for adapter in adapters.adapters:
        for module, (a, b) in sorted(adapter.factors.items()):
            yield f"{adapter.name} {module}".encode()
            yield a.contiguous().numpy().tobytes() + b.contiguous().numpy().tobytes()
