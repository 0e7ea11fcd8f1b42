"""Evaluate storage against quality: methods x settings, in parallel and resumable."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from ..calibration import calibrate
from ..errors import UsageError
from ..merging import METHODS
from ..packing import CodedAdapters, Coder
from ..stored import MergedAdapters, StoredAdapters
from .evaluator import AllScores, TaskFactors
from .interval import Interval, interval
from .plain import PlainAdapters, plain
from .points import CALIBRATED, Benchmark, measured

SHARES = (3, 5, 7, 10, 15, 30, 60)  # percent
MOST_CALIBRATED = 10  # percent; calibration gains nothing above
PLAIN_BITS = (2, 4, 8)
MIXABLE = "mixable"  # a byte budget, with shared rows only
UNMERGED, BASE = "unmerged", "base model"
OTHERS = ("tokens", "nats", "generated", "chrf")  # scores beside exact match


class Candidate(NamedTuple):
    """A setting to evaluate: series in the plot, label, and a function that makes it."""

    series: str
    label: str
    make: Callable[[Benchmark], StoredAdapters | PlainAdapters]


@dataclass(frozen=True)
class Point:
    """One evaluated setting: its share of the adapters' fp16 bytes, and scores of every task.

    Attributes:
        series: points joined by a line.
        label: name within the series.
        share: share of the adapters' fp16 bytes.
        scores: task -> exact match in [0, 1], teacher-forced.
        tokens: task -> share of correct answer tokens in [0, 1], teacher-forced.
        nats: task -> negative log-likelihood per answer token.
        generated: task -> exact match in [0, 1] of generated texts.
        chrf: task -> chrF2 in [0, 1] of generated texts.
    """

    series: str
    label: str
    share: float
    scores: Mapping[str, float]
    tokens: Mapping[str, float]
    nats: Mapping[str, float]
    generated: Mapping[str, float]
    chrf: Mapping[str, float]

    @classmethod
    def from_scores(
        cls, series: str, label: str, share: float, scores: Mapping[str, AllScores]
    ) -> "Point":
        """Create a point from the scores of every task."""
        flat = {task: (*x.forced, *x.generated) for task, x in scores.items()}
        columns = zip(*flat.values(), strict=True)
        return cls(series, label, share, *(dict(zip(flat, x, strict=True)) for x in columns))

    @property
    def mean(self) -> float:
        """Mean exact match over all tasks."""
        return mean(self.scores.values())

    @property
    def worst_task(self) -> str:
        """The task with the lowest exact match."""
        return min(self.scores, key=self.scores.__getitem__)

    @property
    def worst(self) -> float:
        """Exact match of the worst task."""
        return self.scores[self.worst_task]

    def summary(self) -> dict[str, float | str]:
        """Return the fields of a table row."""
        others = {f"mean_{name}": mean(getattr(self, name).values()) for name in OTHERS}
        return {"mean": self.mean, "worst": self.worst, "worst_task": self.worst_task, **others}

    def lost(self, unmerged: "Point") -> Interval:
        """Return the interval of the mean exact match that is lost, as a share."""
        return interval([unmerged.scores[task] - x for task, x in self.scores.items()])

    def s_score(self, unmerged: "Point") -> float:
        """Return the S-score of K-Merge (arXiv 2510.13537), the mean ratio of chrF2 to unmerged.

        Tasks on which the unmerged adapter scores 0 are left out; the result is 0 without others.
        """
        ratios = [self.chrf[task] / top for task, top in unmerged.chrf.items() if top]
        return mean(ratios or [0.0])


def candidates(
    methods: Sequence[str], tasks: int, shares: Sequence[float] = SHARES
) -> list[Candidate]:
    """List the settings to evaluate.

    Args:
        methods: ``budget``, ``mixable``, ``calibrated``, ``plain``, or names in ``METHODS``.
        tasks: number of tasks.
        shares: byte budgets in percent of fp16; ``calibrated`` uses those up to 10.

    Raises:
        UsageError: a method is unknown.
    """
    wanted = []
    for method in methods:
        if method == "budget":
            wanted += [Candidate("budget", f"{x:g} %", partial(_within, x)) for x in shares]
        elif method == MIXABLE:
            wanted += [
                Candidate("budget, mixable", f"{x:g} %", partial(_within, x, mixable=True))
                for x in shares
            ]
        elif method == CALIBRATED:
            wanted += [
                Candidate("budget, calibrated", f"{x:g} %", partial(_calibrated, x))
                for x in shares
                if x <= MOST_CALIBRATED
            ]
        elif method == "plain":
            wanted += [
                Candidate("plain", f"int{bits}", partial(_plain, bits)) for bits in PLAIN_BITS
            ]
        elif method == "hydraopt":
            counts = sorted({2**i for i in range(tasks.bit_length()) if 2**i <= tasks} | {tasks})
            wanted += [_hydraopt(count) for count in counts]
        elif method in METHODS:
            wanted.append(Candidate(method, method, partial(_merge, method)))
        else:
            raise UsageError(
                f"no method {method!r}; expected one of budget, {MIXABLE}, {CALIBRATED}, plain, "
                f"{', '.join(METHODS)}"
            )
    return wanted


def _within(percent: float, benchmark: Benchmark, *, mixable: bool = False) -> CodedAdapters:
    coder = Coder.from_adapters(benchmark.adapters, mixable=mixable)
    return coder.code(int(percent / 100 * benchmark.adapters.fp16_bytes))


def _calibrated(percent: float, benchmark: Benchmark) -> CodedAdapters:
    return calibrate(_within(percent, benchmark), benchmark.adapters, benchmark.data())


def _plain(bits: int, benchmark: Benchmark) -> PlainAdapters:
    return plain(benchmark.adapters, bits=bits)


def _merge(method: str, benchmark: Benchmark, **settings: object) -> MergedAdapters:
    return benchmark.merge(method, benchmark.adapters, **settings)


def _hydraopt(clusters: int) -> Candidate:
    make = partial(_merge, "hydraopt", clusters=clusters)
    return Candidate("hydraopt", f"K = {clusters}", make)


def frontier(
    benchmark: Benchmark,
    methods: Sequence[str],
    directory: Path,
    jobs: int,
    shares: Sequence[float] = SHARES,
) -> list[Point]:
    """Evaluate the unmerged adapters, the base alone and all candidates, in this order.

    Raises:
        UsageError: a method is unknown, or needs data that ``benchmark`` lacks.
        DataError: the base cannot be loaded.
    """
    benchmark.check(methods)
    chosen = candidates(methods, len(benchmark.adapters.tasks), shares)
    work = {UNMERGED: partial(_unmerged, benchmark), BASE: partial(_base, benchmark)}
    work |= {f"{x.series} {x.label}": partial(_evaluate, benchmark, x) for x in chosen}
    results = measured(work, benchmark.fingerprint, directory, jobs)
    return [Point(**results[name]) for name in work]


def _unmerged(benchmark: Benchmark) -> dict:
    trained = {adapter.name: adapter.factors for adapter in benchmark.adapters.adapters}
    return _point(benchmark, UNMERGED, UNMERGED, 1.0, trained.__getitem__)


def _base(benchmark: Benchmark) -> dict:
    return _point(benchmark, BASE, BASE, 0.0, lambda _: {})


def _evaluate(benchmark: Benchmark, candidate: Candidate) -> dict:
    merged = candidate.make(benchmark)
    series, label = candidate.series, candidate.label
    return _point(benchmark, series, label, merged.share, merged.task_factors)


def _point(
    benchmark: Benchmark, series: str, label: str, share: float, factors: TaskFactors
) -> dict:
    scores = benchmark.evaluator().all_scores(benchmark.adapters.tasks, factors)
    return asdict(Point.from_scores(series, label, share, scores))
