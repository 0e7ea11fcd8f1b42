"""What a profile found: samples while it runs, then ``results.json`` (RESULTS.md describes it)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..documents import checked
from ..errors import UsageError
from ..reading import UnreadableError, file_json, shortened
from .facts import Facts

FORMAT_VERSION = 3
RESULTS = "results.json"
COMPLETE, PARTIAL = "complete", "partial"
TIMES_MEAN_NOTHING = (
    "The arm64 virtual machine is emulated instruction by instruction: its outputs count, its "
    "times do not, nor do their ratios."
)
DEVICE_NOTES = {
    "emulated Linux device": "Linux behind Android's adbd at the speed of the machine below it: "
    "its times are that machine's, not a phone's.",
    "Android emulator": "An Android emulator: its times are its host's, not a phone's.",
    "host": "This machine without adb: its times are not a phone's.",
}


class Key(NamedTuple):
    """What was measured, and how."""

    variant: str
    metric: str
    threads: int


@dataclass
class Profile:
    """A profile as it grows; whatever ends it early, what it holds is worth keeping.

    Attributes:
        facts: the device.
        bundle: the bundle's name, base model, method, quantisation and number of tasks.
        sizes: of :func:`~.sizes.sizes`.
        settings: threads, rounds, and how much a round measures.
        rounds: samples of every key, one list for each round that finished.
        outputs: by variant, how far the outputs are from this machine's.
        operators: by variant, times of operators.
        conditions: heat and clocks ``before`` and ``after``.
        notes: lines for people.
        lost: why it ended early; empty if it did not.
    """

    facts: Facts
    bundle: Mapping[str, object]
    sizes: Mapping[str, object]
    settings: dict[str, Any]
    rounds: dict[Key, list[list[float]]] = field(default_factory=dict)
    outputs: dict[str, dict] = field(default_factory=dict)
    operators: dict[str, list[dict]] = field(default_factory=dict)
    conditions: dict[str, dict] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lost: str = ""

    @property
    def timing_valid(self) -> bool:
        """Whether times mean anything: not on a machine that is emulated."""
        return self.facts.tier != "b"

    def add(self, variant: str, threads: int, samples: Mapping[str, Sequence[float]]) -> None:
        """Add one round's samples."""
        for metric, values in samples.items():
            self.rounds.setdefault(Key(variant, metric, threads), []).append(list(values))

    def record(self) -> dict:
        """Everything as JSON."""
        note = DEVICE_NOTES.get(self.facts.device_type)
        note = note if self.timing_valid else TIMES_MEAN_NOTHING
        return {
            "format_version": FORMAT_VERSION,
            "hydraopt": version("hydraopt"),
            "executorch": version("executorch"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "status": PARTIAL if self.lost else COMPLETE,
            "lost": self.lost,
            "timing_valid": self.timing_valid,
            "device": asdict(self.facts),
            "conditions": self.conditions,
            "bundle": self.bundle,
            "settings": self.settings,
            "notes": [*([note] if note else []), *self.notes],
            "sizes": self.sizes,
            "outputs": self.outputs,
            "measurements": [self._measurement(key, x) for key, x in self.rounds.items()],
            "operators": self.operators,
        }

    def _measurement(self, key: Key, rounds: Sequence[Sequence[float]]) -> dict:
        return {
            **key._asdict(),
            "model": self.facts.model,
            "abi": self.facts.abi,
            "kernel": self.facts.kernel,
            "device_type": self.facts.device_type,
            "timing_valid": self.timing_valid,
            **statistics(rounds),
        }


def statistics(rounds: Sequence[Sequence[float]]) -> dict:
    """Median, 5th and 95th percentile, each round's median, and the samples of all rounds."""
    samples = [sample for samples in rounds for sample in samples]
    low, middle, high = (float(x) for x in np.percentile(samples, (5, 50, 95)))
    return {
        "count": len(samples),
        "median": middle,
        "p5": low,
        "p95": high,
        "round_medians": [float(np.median(samples)) for samples in rounds],
        "samples": [round(sample, 6) for sample in samples],
    }


class Measurements:
    """The measurements of a record of results, by variant, metric and threads."""

    def __init__(self, results: Mapping):
        self.results = results
        self.by_key = {
            Key(row["variant"], row["metric"], row["threads"]): row
            for row in results["measurements"]
        }
        self.threads = sorted({key.threads for key in self.by_key})
        self.variants = list(dict.fromkeys(key.variant for key in self.by_key))

    def get(self, variant: str, metric: str, threads: int | None = None) -> Mapping | None:
        """One measurement, with the fewest threads by default; None if there is none."""
        if threads is None:
            threads = self.threads[0] if self.threads else 0
        return self.by_key.get(Key(variant, metric, threads))

    def overhead(self, variant: str, metric: str, floor: str, threads: int) -> list[float]:
        """``variant`` over ``floor`` minus one, round by round; empty if either is missing."""
        over, under = self.get(variant, metric, threads), self.get(floor, metric, threads)
        if over is None or under is None:
            return []
        medians = zip(over["round_medians"], under["round_medians"], strict=False)
        return [own / least - 1 for own, least in medians]


def read_results(path: Path) -> dict:
    """Read ``results.json``, or the one in a directory.

    Raises:
        UsageError: there is none, a damaged one, or one of another version.
    """
    path = path / RESULTS if path.is_dir() else path
    try:
        results = file_json(path)
        number = results.get("format_version") if isinstance(results, dict) else None
        if isinstance(number, int) and number != FORMAT_VERSION:
            raise UsageError(
                f"{path} has format version {shortened(number)}, expected {FORMAT_VERSION}; "
                "profile again"
            )
        return checked(results, "results")
    except UnreadableError as error:
        raise UsageError(
            f"{path} is no result of hydraopt profile ({error}); run it with -o"
        ) from None
