"""Storage against quality: methods x settings on one set of adapters, in parallel, resumable."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from ..calibration import calibrate
from ..errors import UsageError
from ..merging import METHODS, Merged, MergedAdapters
from ..packing import CodedAdapters, Coder
from .plain import PlainAdapters, plain
from .points import CALIBRATED, Subject, measured

SHARES = (3, 5, 7, 10, 15, 30, 60)  # percent
CALIBRATED_SHARES = (3, 5, 7, 10)
PLAIN_BITS = (2, 4, 8)
UNMERGED = "unmerged"


class Candidate(NamedTuple):
    """One merge to evaluate: its series in the plot, its label, and how to make it."""

    series: str
    label: str
    make: Callable[[Subject], Merged | PlainAdapters]


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
    """What to evaluate of ``methods``: ``budget``, ``calibrated``, ``plain`` or in ``METHODS``.

    Raises:
        UsageError: an unknown method.
    """
    found = []
    for method in methods:
        if method == "budget":
            found += [Candidate("budget", f"{x} %", partial(_within, x)) for x in SHARES]
        elif method == CALIBRATED:
            found += [
                Candidate("budget, calibrated", f"{x} %", partial(_calibrated, x))
                for x in CALIBRATED_SHARES
            ]
        elif method == "plain":
            found += [
                Candidate("plain", f"int{bits}", partial(_plain, bits)) for bits in PLAIN_BITS
            ]
        elif method == "hydraopt":
            counts = sorted({2**i for i in range(tasks.bit_length()) if 2**i <= tasks} | {tasks})
            found += [_hydraopt(count) for count in counts]
        elif method in METHODS:
            found.append(Candidate(method, method, partial(_merge, method)))
        else:
            raise UsageError(
                f"no method {method!r}; there are: budget, {CALIBRATED}, plain, "
                f"{', '.join(METHODS)}"
            )
    return found


def _within(percent: float, subject: Subject) -> CodedAdapters:
    adapters = subject.adapters
    return Coder.of(adapters).code(int(percent / 100 * adapters.fp16_bytes))


def _calibrated(percent: float, subject: Subject) -> CodedAdapters:
    return calibrate(_within(percent, subject), subject.adapters, subject.data())


def _plain(bits: int, subject: Subject) -> PlainAdapters:
    return plain(subject.adapters, bits=bits)


def _merge(method: str, subject: Subject, **settings: object) -> MergedAdapters:
    return subject.merge(method, subject.adapters, **settings)


def _hydraopt(clusters: int) -> Candidate:
    make = partial(_merge, "hydraopt", clusters=clusters)
    return Candidate("hydraopt", f"K = {clusters}", make)


def frontier(subject: Subject, methods: Sequence[str], directory: Path, jobs: int) -> list[Point]:
    """Evaluate the unmerged adapters and all candidates; the unmerged ones come first.

    Raises:
        UsageError: an unknown method, or one that needs data that ``subject`` does not have.
        DataError: the base cannot be loaded.
    """
    subject.check(methods)
    wanted = [None, *candidates(methods, len(subject.adapters.tasks))]
    work = {_name(candidate): partial(_evaluate, subject, candidate) for candidate in wanted}
    found = measured(work, subject.fingerprint, directory, jobs)
    return [Point(**found[_name(candidate)]) for candidate in wanted]


def _name(candidate: Candidate | None) -> str:
    return f"{candidate.series} {candidate.label}" if candidate else UNMERGED


def _evaluate(subject: Subject, candidate: Candidate | None) -> dict:
    evaluator = subject.evaluator()
    if candidate is None:
        return asdict(Point(UNMERGED, UNMERGED, 1.0, evaluator.unmerged(subject.adapters)))
    merged = candidate.make(subject)
    scores = evaluator.merged(merged)
    return asdict(Point(candidate.series, candidate.label, merged.share, scores))
