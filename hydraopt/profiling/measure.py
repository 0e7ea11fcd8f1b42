"""Measuring a bundle on a device, beside the other ways of shipping its adapters."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import BundleError, DeviceLostError, ProfilingError, UsageError
from ..lowering.manifest import PROGRAM, Manifest
from .adb import Device
from .conditions import SCRIPT, condition_notes, parse_conditions
from .host import Host
from .operators import operator_times
from .outputs import LOGITS, TOLERANCE, compare_outputs, expected_outputs, output_plan
from .plan import Effort, Step, cold_plan, lines, samples, trace_plan, warm_plan
from .results import Profile
from .runner import Runner, Workspace, device_runner, host_runner, own_runner, run_plan
from .sizes import sizes
from .variants import (
    BUNDLE,
    Variant,
    alternative_variant,
    bundle_variant,
    lowered_alternatives,
)

COLD = 0.01  # share of a program's pages in memory up to which its load counts as cold
THREADS = (1, 2, 4)
PLAN_SECONDS = 1800  # no phone takes longer for one process
TRACE = "trace.etdp"
NO_BASE = (
    "Without --base the alternatives (baked in, constants, .pte + .ptd) are left out: "
    "nothing to compare with."
)
NOT_COLD = (
    "No cold load: the program's file stays in memory on this device (a RAM disk, or eviction "
    "is not allowed)."
)


@dataclass(frozen=True)
class Asked:
    """What to profile.

    Attributes:
        bundle: its directory.
        threads: sizes of the thread pool to measure with; by default 1, 2 and 4 where the
            device has as many cores.
        rounds: repetitions; in each, all variants run once, in turns.
        base: base model to lower the alternatives from; None leaves them out.
        adapters: directory of the tasks' PEFT directories, to count their files.
        runner: the user's own build of the runner.
    """

    bundle: Path
    threads: Sequence[int]
    rounds: int
    base: str | None = None
    adapters: Path | None = None
    runner: Path | None = None


def profile(asked: Asked, device: Device | Host) -> Profile:
    """Measure a bundle on a device.

    Raises:
        BundleError: a damaged bundle, or one without packs.
        ProfilingError: the device computes something else, or cannot be measured.
        DeviceError: the device refused; one that is lost later ends the profile early instead,
            see :attr:`Profile.lost`.
    """
    manifest = Manifest.read(asked.bundle)
    if manifest.swap != "inputs":
        raise BundleError(
            f"{asked.bundle} has one method per task; profile a bundle that was exported with "
            "--swap inputs"
        )
    facts = device.facts()
    threads = _threads(asked.threads, facts.cores)
    runner = _runner(asked, device, facts.abi)
    expected = expected_outputs(asked.bundle, manifest)
    alternatives = lowered_alternatives(asked.bundle, manifest, asked.base) if asked.base else {}
    variants = [bundle_variant(asked.bundle, manifest)]
    variants += [alternative_variant(name, x) for name, x in alternatives.items()]
    effort = Effort.of(manifest.max_length, least=facts.tier == "b")
    rounds = 1 if facts.tier == "b" else asked.rounds
    found = Profile(
        facts,
        {
            "name": asked.bundle.resolve().name,
            "program_sha256": manifest.files[PROGRAM].sha256,
            "base_model": manifest.base_model,
            "method": manifest.method,
            "quantize": manifest.quantize,
            "max_length": manifest.max_length,
            "tasks": len(manifest.tasks),
        },
        sizes(asked.bundle, manifest, alternatives, asked.adapters),
        {"threads": list(threads), "rounds": rounds, **asdict(effort)},
        notes=[] if asked.base else [NO_BASE],
    )
    try:
        with device.workspace() as workspace:
            run = _Run(workspace, runner, variants, effort, found)
            run.put()
            found.conditions["before"] = parse_conditions(device.shell(SCRIPT, "tell its clocks"))
            run.outputs(expected, TOLERANCE[manifest.quantize], manifest.quantize)
            run.rounds(rounds, threads)
            run.operators()
            found.conditions["after"] = parse_conditions(device.shell(SCRIPT, "tell its clocks"))
            found.notes += condition_notes(**found.conditions, cores=facts.cores)
    except DeviceLostError as error:
        found.lost = str(error)
    return found


def _threads(asked: Sequence[int], cores: int) -> Sequence[int]:
    threads = asked or [count for count in THREADS if count <= cores]
    if min(threads) < 1 or max(threads) > cores:
        raise UsageError(
            f"--threads {','.join(map(str, threads))}: expected numbers from 1 to {cores}, the "
            "device's cores"
        )
    return threads


def _runner(asked: Asked, device: Device | Host, abi: str) -> Runner:
    if asked.runner:
        return own_runner(asked.runner)
    return host_runner() if isinstance(device, Host) else device_runner(abi)


@dataclass(frozen=True)
class _Run:
    """One run on a device; what it finds goes into ``found`` at once."""

    workspace: Workspace
    runner: Runner
    variants: Sequence[Variant]
    effort: Effort
    found: Profile

    def put(self) -> None:
        """Copy runner and programs to the device."""
        files = dict(self.runner.files)
        for variant in self.variants:
            files |= variant.files
        self.workspace.put(files)

    def outputs(self, expected: Mapping, tolerance: float, quantize: str) -> None:
        """Compare every task of the bundle, and the first of the alternatives."""
        for variant in tqdm(self.variants, desc="outputs", disable=None, leave=False):
            if variant.name == "baked" and quantize != "none":
                continue  # quantised after the merge: other weights, other outputs
            tasks = expected
            if variant.name != BUNDLE:
                first = next(iter(expected))
                tasks = {first: expected[first]}
            self._run(output_plan(variant, tasks))
            content = self._get(LOGITS, Path.read_bytes)
            self.workspace.write(LOGITS, "")
            where = f"{variant.name} on {self.found.facts.serial}"
            self.found.outputs[variant.name] = compare_outputs(content, tasks, tolerance, where)

    def rounds(self, count: int, threads: Sequence[int]) -> None:
        """All variants in turns; each round starts with another one."""
        total = count * len(threads) * len(self.variants)
        with tqdm(total=total, desc="measure", disable=None, leave=False) as bar:
            for number in range(count):
                start = number % len(self.variants)
                for variant in [*self.variants[start:], *self.variants[:start]]:
                    self._cold(variant, threads[0])
                    for size in threads:
                        plan = warm_plan(variant, self.effort, size)
                        self.found.add(variant.name, size, samples(plan, self._run(plan)))
                        bar.update()

    def _cold(self, variant: Variant, threads: int) -> None:
        if NOT_COLD in self.found.notes:
            return
        plan = cold_plan(variant, threads)
        taken = samples(plan, self._run(plan))
        if taken["resident"][0] > COLD:
            self.found.notes.append(NOT_COLD)
        else:
            self.found.add(variant.name, threads, {"load_cold_ms": taken["load_cold_ms"]})

    def operators(self) -> None:
        """Time operators of the bundle and of the base without slots, traced apart."""
        for variant in self.variants:
            if variant.name in (BUNDLE, "baked"):
                try:
                    self._run(trace_plan(variant, self.effort, TRACE))
                    times = self._get(TRACE, operator_times)
                except DeviceLostError:
                    raise
                except ProfilingError as error:  # a user's runner may lack ETDump
                    self.found.notes.append(f"No times of operators: {error}.")
                    return
                self.found.operators[variant.name] = times

    def _run(self, plan: Sequence[Step]) -> list[dict]:
        return run_plan(self.workspace, self.runner, lines(plan), PLAN_SECONDS)

    def _get(self, name: str, read: Callable[[Path], Any]) -> Any:
        """What ``read`` makes of a file that the runner wrote."""
        with tempfile.TemporaryDirectory(prefix="hydraopt-") as scratch:
            target = Path(scratch) / name
            self.workspace.get(name, target)
            return read(target)
