"""Storage against quality: methods x settings on one set of adapters, in parallel, resumable."""

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
from .plain import PlainAdapters, plain
from .points import CALIBRATED, Benchmark, measured

SHARES = (3, 5, 7, 10, 15, 30, 60)  # percent
MOST_CALIBRATED = 10  # percent; with more bytes there is nothing to gain
PLAIN_BITS = (2, 4, 8)
UNMERGED, BASE = "unmerged", "base model"
OTHERS = ("tokens", "nats", "generated", "chrf")  # scores beside exact match


class Candidate(NamedTuple):
    """One merge to evaluate: its series in the plot, its label, and how to make it."""

    series: str
    label: str
    make: Callable[[Benchmark], StoredAdapters | PlainAdapters]


@dataclass(frozen=True)
class Point:
    """One evaluated merge: its share of the adapters' fp16 bytes, and scores of every task.

    Attributes:
        series: of points that a line joins.
        label: which one of the series.
        share: of the adapters' fp16 bytes.
        scores: exact match in [0, 1].
        tokens: share of the answers' tokens that are right, given the right text before them.
        nats: negative log likelihood per token.
        generated: exact match in [0, 1] of texts that the model generates.
        chrf: chrF2 in [0, 1] of these texts.
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
        """From the scores of every task."""
        flat = {task: (*x.forced, *x.generated) for task, x in scores.items()}
        columns = zip(*flat.values(), strict=True)
        return cls(series, label, share, *(dict(zip(flat, x, strict=True)) for x in columns))

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
        others = {f"mean_{name}": mean(getattr(self, name).values()) for name in OTHERS}
        return {"mean": self.mean, "worst": self.worst, "worst_task": self.worst_task, **others}

    def s_score(self, unmerged: "Point") -> float:
        """Mean of all tasks' chrF2 over that of the unmerged adapter, as K-Merge does it.

        Tasks of which the unmerged adapter gets nothing right are left out (arXiv 2510.13537); 0
        if there are no others.
        """
        return mean(self._ratios(unmerged))

    def worst_s_score(self, unmerged: "Point") -> float:
        """The least of these ratios."""
        return min(self._ratios(unmerged))

    def _ratios(self, unmerged: "Point") -> list[float]:
        return [self.chrf[task] / top for task, top in unmerged.chrf.items() if top] or [0.0]


def candidates(
    methods: Sequence[str], tasks: int, shares: Sequence[float] = SHARES
) -> list[Candidate]:
    """What to evaluate of ``methods``: ``budget``, ``calibrated``, ``plain`` or in ``METHODS``.

    Args:
        methods: names.
        tasks: their number.
        shares: the byte budgets, in percent of fp16; those of ``calibrated`` end at 10.

    Raises:
        UsageError: an unknown method.
    """
    wanted = []
    for method in methods:
        if method == "budget":
            wanted += [Candidate("budget", f"{x:g} %", partial(_within, x)) for x in shares]
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
                f"no method {method!r}; there are: budget, {CALIBRATED}, plain, "
                f"{', '.join(METHODS)}"
            )
    return wanted


def _within(percent: float, benchmark: Benchmark) -> CodedAdapters:
    adapters = benchmark.adapters
    return Coder.from_adapters(adapters).code(int(percent / 100 * adapters.fp16_bytes))


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
    """Evaluate unmerged adapters, the base alone, and all candidates, in this order.

    Raises:
        UsageError: an unknown method, or one that needs data that ``benchmark`` does not have.
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
