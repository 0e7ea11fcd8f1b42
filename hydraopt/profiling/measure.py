"""Measuring a bundle on a device, beside the other ways of shipping its adapters."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import BundleError, DeviceLostError, UsageError
from ..formats.manifest import CAUSAL_LM, DATA, METHODS, PROGRAM, STATIC, Manifest
from .adb import Device
from .conditions import SCRIPT, condition_notes, parse_conditions
from .host import Host
from .outputs import expected_outputs
from .plan import Effort
from .results import Profile
from .run import Run
from .runner import Runner, device_runner, host_runner, own_runner
from .sizes import separate_bytes, sizes
from .variants import alternative_variant, bundle_variant, lowered_alternatives

THREADS = (1, 2, 4)
NO_BASE = (
    "Without --base the alternatives (baked in, constants, .pte + .ptd) are left out: "
    "nothing to compare with."
)


@dataclass(frozen=True)
class Asked:
    """What to profile.

    Attributes:
        bundle: its directory.
        threads: sizes of the thread pool to measure with; None: 1, 2 and 4 where the
            device has as many cores.
        rounds: repetitions; in each, all variants run once, in turns.
        base: base model to lower the alternatives from; None leaves them out.
        adapters: directory of the tasks' PEFT directories, to count their files.
        runner: the user's own build of the runner.
    """

    bundle: Path
    threads: Sequence[int] | None
    rounds: int
    base: str | None = None
    adapters: Path | None = None
    runner: Path | None = None


def profile(asked: Asked, device: Device | Host) -> Profile:
    """Measure a bundle on a device.

    Raises:
        BundleError: a damaged bundle, one with a method or a data file per task, or no causal LM.
        UsageError: a base to compare with, where the bundle's own factors are not known.
        ProfilingError: the device computes something else, or cannot be measured.
        DeviceError: the device refused; one that is lost later ends the profile early instead,
            see :attr:`Profile.lost`.
    """
    manifest = Manifest.read(asked.bundle)
    if manifest.kind != CAUSAL_LM:
        raise BundleError(
            f"the base model of {asked.bundle} is of kind {manifest.kind}, expected {CAUSAL_LM}: "
            "only programs that continue texts are profiled"
        )
    if manifest.swap in (METHODS, DATA):
        what = "method" if manifest.swap == METHODS else "data file"
        raise BundleError(
            f"{asked.bundle} has one {what} per task; profile a bundle that was exported with "
            "--swap inputs"
        )
    if manifest.swap == STATIC and asked.base:
        raise UsageError(
            f"{asked.bundle} has its adapters in the weights, which are not told apart from the "
            "base's; profile it without --base"
        )
    facts = device.facts()
    threads = _threads(asked.threads, facts.cores)
    runner = _runner(asked, device, facts.abi)
    separate = separate_bytes(manifest, asked.adapters)
    expected = expected_outputs(asked.bundle, manifest)
    alternatives = lowered_alternatives(asked.bundle, manifest, asked.base) if asked.base else {}
    variants = [bundle_variant(asked.bundle, manifest)]
    variants += [alternative_variant(name, x) for name, x in alternatives.items()]
    found = Profile(
        facts,
        _bundle(asked.bundle, manifest),
        sizes(asked.bundle, manifest, alternatives, *separate),
        {"threads": list(threads), "rounds": 1 if facts.tier == "b" else asked.rounds},
        notes=[] if asked.base else [NO_BASE],
    )
    try:
        with device.workspace() as workspace:
            run = Run(workspace, runner, variants, found)
            run.put()
            found.conditions["before"] = parse_conditions(device.shell(SCRIPT, "tell its clocks"))
            run.outputs(expected, manifest.quantize)
            lengths = manifest.max_length, manifest.prefill_length
            _measure(run, Effort.of(*lengths, least=not found.timing_valid))
            found.conditions["after"] = parse_conditions(device.shell(SCRIPT, "tell its clocks"))
            if found.timing_valid:
                found.notes += condition_notes(**found.conditions, cores=facts.cores)
    except DeviceLostError as error:
        found.lost = str(error)
    return found


def _measure(run: Run, effort: Effort) -> None:
    settings, threads = run.found.settings, run.found.settings["threads"]
    if run.found.timing_valid:
        effort = run.calibrated(effort, threads[0])
    settings |= asdict(effort)
    run.rounds(settings["rounds"], threads, effort)
    run.operators(effort)


def _bundle(path: Path, manifest: Manifest) -> dict:
    return {
        "name": path.resolve().name,
        "program_sha256": manifest.files[PROGRAM].sha256,
        "base_model": manifest.base_model,
        "method": manifest.method,
        "quantize": manifest.quantize,
        "max_length": manifest.max_length,
        "tasks": len(manifest.tasks),
    }


def _threads(asked: Sequence[int] | None, cores: int) -> Sequence[int]:
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
