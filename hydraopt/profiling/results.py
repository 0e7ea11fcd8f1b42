"""A profile's samples while it runs, and ``results.json`` (see RESULTS.md)."""

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
    "The arm64 virtual machine is emulated instruction by instruction: its outputs are valid, its "
    "times and their ratios are not."
)
DEVICE_NOTES = {
    "emulated Linux device": "Linux behind Android's adbd at the speed of the machine below it: "
    "its times are that machine's, not a phone's.",
    "Android emulator": "An Android emulator: its times are its host's, not a phone's.",
    "host": "This machine without adb: its times are not a phone's.",
}


class Key(NamedTuple):
    """A measured metric of a variant with a number of threads."""

    variant: str
    metric: str
    threads: int


@dataclass
class Profile:
    """A profile that grows while it runs, and stays valid if it ends early.

    Attributes:
        facts: the device.
        bundle: the bundle's name, base model, method, quantisation and number of tasks.
        sizes: as :func:`~.sizes.sizes` returns them.
        settings: threads, rounds and workload.
        rounds: samples by key, one list per finished round.
        outputs: comparison with this machine's outputs, by variant.
        operators: times of operators, by variant.
        conditions: load, heat and clocks ``before`` and ``after``.
        notes: sentences for the reader.
        lost: why the profile ended early; empty if it did not.
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
        """Whether times are meaningful; not on the emulated arm64 machine."""
        return self.facts.tier != "b"

    def add(self, variant: str, threads: int, samples: Mapping[str, Sequence[float]]) -> None:
        """Add one round's samples."""
        for metric, values in samples.items():
            self.rounds.setdefault(Key(variant, metric, threads), []).append(list(values))

    def record(self) -> dict:
        """Return the content of ``results.json``."""
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
    """Return median, 5th and 95th percentile, each round's median, and all samples."""
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
    """The measurements of ``results.json``, by variant, metric and number of threads."""

    def __init__(self, results: Mapping):
        self.results = results
        self.by_key = {
            Key(row["variant"], row["metric"], row["threads"]): row
            for row in results["measurements"]
        }
        self.threads = sorted({key.threads for key in self.by_key})
        self.variants = list(dict.fromkeys(key.variant for key in self.by_key))

    def get(self, variant: str, metric: str, threads: int | None = None) -> Mapping | None:
        """Return a measurement, by default with the fewest threads; None if it is missing."""
        if threads is None:
            threads = self.threads[0] if self.threads else 0
        return self.by_key.get(Key(variant, metric, threads))

    def overhead(self, variant: str, metric: str, floor: str, threads: int) -> list[float]:
        """Return ``variant / floor - 1`` of each round's medians; empty if either is missing."""
        over, under = self.get(variant, metric, threads), self.get(floor, metric, threads)
        if over is None or under is None:
            return []
        medians = zip(over["round_medians"], under["round_medians"], strict=False)
        return [own / least - 1 for own, least in medians]


def read_results(path: Path) -> dict:
    """Read ``results.json``, given its path or its directory.

    Raises:
        UsageError: the file is missing, damaged or of another version.
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
            f"{path} is not a result of hydraopt profile ({error}); run it with -o"
        ) from None
