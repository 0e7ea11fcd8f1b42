"""A run on a device: outputs, rounds, operators, each added to the profile at once."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from ..errors import DeviceLostError, ProfilingError
from ..formats.manifest import Manifest
from ..progress import progress, steps
from .operators import operator_times
from .outputs import LOGITS, compare_outputs, output_script
from .results import Profile
from .runner import Runner, Workspace, run_script
from .script import Section, Workload, cold_script, commands, samples, trace_script, warm_script
from .variants import BUNDLE, Variant

COLD = 0.01  # a load is cold with at most this share of the program's pages in memory
SCRIPT_SECONDS = 1800  # limit of one process
SEQUENCE_MS, MOST_SEQUENCES = 500, 30  # in a round
TRACE = "trace.etdp"
NOT_COLD = (
    "No cold load: the program's file stays in memory on this device (a RAM disk, or eviction "
    "is not allowed)."
)


@dataclass(frozen=True)
class DeviceRun:
    """A run on a device, which adds each measurement to ``profile`` at once."""

    workspace: Workspace
    runner: Runner
    variants: Sequence[Variant]
    profile: Profile

    def put(self) -> None:
        """Copy runner and programs to the device."""
        files = dict(self.runner.files)
        for variant in self.variants:
            files |= variant.files
        self.workspace.put(files)

    def outputs(self, expected: Mapping, manifest: Manifest) -> None:
        """Compare every task of the bundle, and the first task of the alternatives.

        Alternatives with other weights than the bundle's are left out: those of a base that was
        rounded for texts, and a quantised base that has the adapter in its weights.
        """
        quantized, calibrated = manifest.loosest_scheme.quantizes, manifest.calibration is not None
        for variant in progress(self.variants, "outputs"):
            if (variant.reloads and calibrated) or (variant.name == "baked" and quantized):
                continue
            tasks = expected
            if variant.reloads:
                first = next(iter(expected))
                tasks = {first: expected[first]}
            self._run(output_script(variant, tasks))
            content = self._get(LOGITS, Path.read_bytes)
            self.workspace.write(LOGITS, "")
            where = f"{variant.name} on {self.profile.facts.serial}"
            self.profile.outputs[variant.name] = compare_outputs(
                content, tasks, manifest.loosest_scheme.tolerance, where
            )

    def calibrated(self, workload: Workload, threads: int) -> Workload:
        """Return the workload with sequences for half a second: a small model's drown in noise."""
        bundle = next(variant for variant in self.variants if variant.name == BUNDLE)
        script = warm_script(bundle, workload, threads)
        taken = samples(script, self._run(script))
        sequence = (sum(taken["prefill_ms"]) + sum(taken["decode_ms"])) / workload.sequences
        count = round(SEQUENCE_MS / sequence)
        return replace(workload, sequences=max(workload.sequences, min(count, MOST_SEQUENCES)))

    def rounds(self, count: int, threads: Sequence[int], workload: Workload) -> None:
        """Measure all variants in turns; each round starts with another variant."""
        total = count * len(threads) * len(self.variants)
        with steps("measure", total=total) as bar:
            for number in range(count):
                start = number % len(self.variants)
                turns = [*self.variants[start:], *self.variants[:start]]
                for variant in turns:
                    self._cold(variant, threads[0])
                for size, variant in product(threads, turns):
                    script = warm_script(variant, workload, size)
                    self.profile.add(variant.name, size, samples(script, self._run(script)))
                    bar.update()

    def _cold(self, variant: Variant, threads: int) -> None:
        if NOT_COLD in self.profile.notes:
            return
        script = cold_script(variant, threads)
        taken = samples(script, self._run(script))
        if taken["resident"][0] > COLD:
            self.profile.notes.append(NOT_COLD)
        else:
            self.profile.add(variant.name, threads, {"load_cold_ms": taken["load_cold_ms"]})

    def operators(self, workload: Workload) -> None:
        """Time the operators of the bundle and of the base without slots, in separate traces."""
        for variant in self.variants:
            if variant.name in (BUNDLE, "baked"):
                try:
                    self._run(trace_script(variant, workload, TRACE))
                    times = self._get(TRACE, operator_times)
                except DeviceLostError:
                    raise
                except ProfilingError as error:  # a user's runner may lack ETDump
                    self.profile.notes.append(f"No times of operators: {error}.")
                    return
                self.profile.operators[variant.name] = times

    def _run(self, script: Sequence[Section]) -> list[dict]:
        return run_script(self.workspace, self.runner, commands(script), SCRIPT_SECONDS)

    def _get(self, name: str, read: Callable[[Path], Any]) -> Any:
        """Copy a file that the runner wrote and return ``read(path)``."""
        with tempfile.TemporaryDirectory(prefix="hydraopt-") as scratch:
            target = Path(scratch) / name
            self.workspace.get(name, target)
            return read(target)
