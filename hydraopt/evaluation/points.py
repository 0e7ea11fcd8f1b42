"""Run long measurements in parallel and resumably, with one JSON file for each."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from joblib import Parallel, delayed

from ..adapters import AdapterSet
from ..documents import checked
from ..errors import DataError, UsageError, require
from ..files import check_files, json_bytes, write_files
from ..fitting import check_fit
from ..merging import METHODS, find_method, merge_with
from ..progress import progress
from ..reading import UnreadableError, file_json
from ..stored import MergedAdapters
from ..training import CalibrationData, Examples
from .evaluator import Evaluator

CALIBRATED = "calibrated"  # a byte budget, with codes calibrated on the training prompts
FRONTIER = "frontier"  # kind of output directory
POINTS = "points"
RECORDS = 2  # version of a point's record


def measured(
    work: Mapping[str, Callable[[], dict]], fingerprint: str, directory: Path, jobs: int
) -> dict[str, dict]:
    """Call every function in ``work`` and return the results by name.

    Each result is written to ``directory/points`` at once and reused by later runs.

    Args:
        work: name -> picklable function with a JSON-compatible result.
        fingerprint: hash of everything that the results depend on.
        directory: directory for the results.
        jobs: number of processes.

    Raises:
        OutputError: ``directory`` holds something else, or cannot be written.
    """
    files = {name: f"{POINTS}/{_file_name(name)}.json" for name in work}
    check_files(directory, FRONTIER, files.values())
    directory.mkdir(parents=True, exist_ok=True)
    kept = {name: _read(directory / file, fingerprint) for name, file in files.items()}
    results = {name: result for name, result in kept.items() if result is not None}
    missing = [name for name in work if name not in results]
    threads = max(1, (os.cpu_count() or 1) // jobs)
    calls = (delayed(_call)(name, work[name], threads) for name in missing)
    computed = Parallel(n_jobs=jobs, return_as="generator_unordered")(calls)
    for name, result in progress(computed, "measure", total=len(missing)):
        results[name] = result
        content = json_bytes({"of": fingerprint, "result": result})
        write_files(directory, FRONTIER, {files[name]: content})
    return {name: results[name] for name in work}


@dataclass(frozen=True)
class Benchmark:
    """Adapters and data that methods are evaluated on.

    Attributes:
        adapters: the adapters.
        base: directory or hub id of the base model.
        examples: test examples of every task.
        training: training examples for methods that need data, if any.
        bfloat16: multiply matrices in bfloat16 when scoring and training.
    """

    adapters: AdapterSet
    base: str
    examples: Examples
    training: Examples | None = None
    bfloat16: bool = False

    @property
    def fingerprint(self) -> str:
        """Hash of all fields; the base counts by its name."""
        others = json.dumps(
            [RECORDS, self.base, self.examples, self.training, self.bfloat16], sort_keys=True
        )
        digest = hashlib.sha256(others.encode())
        for adapter in self.adapters.adapters:
            for part in adapter.content():
                digest.update(f"{adapter.name} ".encode() + part)
        return digest.hexdigest()

    def check(self, methods: Iterable[str]) -> None:
        """Raise ``UsageError`` if a method needs training examples and there are none."""
        needing = [
            name
            for name in methods
            if name == CALIBRATED or (name in METHODS and METHODS[name].needs != "nothing")
        ]
        if needing and self.training is None:
            raise UsageError(
                f"method {needing[0]} needs training examples; pass some", options=["train"]
            )

    def evaluator(self) -> Evaluator:
        """Return the evaluator of the test examples, created once per process."""
        pairs = tuple((task, tuple(pairs)) for task, pairs in self.examples.items())
        evaluator = _evaluator(self.base, pairs, self.bfloat16)
        check_fit(evaluator.model, self.adapters, DataError)
        return evaluator

    def merge(self, method: str, adapters: AdapterSet, **settings: object) -> MergedAdapters:
        """Merge some of the adapters by a method's name, with the training data if it needs any."""
        if find_method(method).needs == "nothing":
            return merge_with(method, adapters, None, **settings)
        return merge_with(method, adapters, self.data(), **settings)

    def data(self) -> CalibrationData:
        """Load the base model with the training examples."""
        examples = require(self.training, "training example")
        return CalibrationData.load(self.base, examples, bfloat16=self.bfloat16)


@cache
def _evaluator(base: str, examples: tuple, bfloat16: bool) -> Evaluator:
    return Evaluator.load(base, dict(examples), bfloat16=bfloat16)


def _call(name: str, function: Callable[[], dict], threads: int) -> tuple[str, dict]:
    torch.set_num_threads(threads)
    return name, function()


def _file_name(name: str) -> str:
    return name.replace(" ", "-").replace("%", "percent")


def _read(path: Path, fingerprint: str) -> dict | None:
    try:
        fields = checked(file_json(path), "point")
    except UnreadableError:
        return None
    return fields["result"] if fields["of"] == fingerprint else None
