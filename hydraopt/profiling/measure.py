"""Measure a bundle on a device, along with the alternative ways to ship its adapters."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import BundleError, DeviceLostError, UsageError
from ..formats.manifest import PROGRAM, Manifest
from ..formats.models import CausalLm
from ..formats.swaps import Data, Inputs, Methods, Static
from ..lowering.alternatives import Alternative
from .adb import Device
from .conditions import condition_notes, conditions_of
from .host import Host
from .outputs import expected_outputs
from .results import Profile
from .run import DeviceRun
from .runner import Runner, device_runner, host_runner, own_runner
from .script import Workload
from .sizes import separate_bytes, sizes
from .variants import bundle_variant, lowered_variants, reloading_variant

THREADS = (1, 2, 4)
NO_BASE = (
    "Measured without a base model, so without the alternatives (baked in, constants, .pte + .ptd)."
)


@dataclass(frozen=True)
class ProfileRequest:
    """A request to profile a bundle.

    Attributes:
        bundle: directory of the bundle.
        threads: sizes of the thread pool; None: 1, 2 and 4, up to the device's cores.
        rounds: repetitions; each runs all variants once, in turns.
        base: base model from which the alternatives are exported; None leaves them out.
        adapters: directory of the tasks' PEFT directories, whose files are counted.
        runner: the user's own build of the runner.
    """

    bundle: Path
    threads: Sequence[int] | None
    rounds: int
    base: str | None = None
    adapters: Path | None = None
    runner: Path | None = None


def profile(request: ProfileRequest, device: Device | Host) -> Profile:
    """Measure a bundle on a device.

    Raises:
        BundleError: the bundle is damaged, has a method or a data file per task, or its base is
            not a causal LM.
        UsageError: ``base`` is given, but the bundle's adapters are in its weights; or a number of
            threads is out of range.
        ProfilingError: the device's outputs differ, or it cannot be measured.
        DeviceError: the device failed; losing it later ends the profile early instead, see
            :attr:`Profile.lost`.
    """
    manifest = profiled_manifest(request)
    swap, base = manifest.swap, request.base
    if isinstance(swap, Static) and base:
        raise UsageError(
            f"the adapters of {request.bundle} are in its weights; no alternative can be "
            "exported; profile it without a base model",
            options=["base"],
        )
    facts = device.facts()
    threads = thread_counts(request.threads, facts.cores)
    runner = _runner(request, device, facts.abi)
    separate = separate_bytes(manifest, request.adapters)
    expected = expected_outputs(request.bundle, manifest)
    lowered: Mapping[str, Alternative] = {}
    if base and isinstance(swap, Inputs):
        lowered = lowered_variants(request.bundle, manifest, swap, base)
    variants = [bundle_variant(request.bundle, manifest)]
    variants += [reloading_variant(name, x) for name, x in lowered.items()]
    outcome = Profile(
        facts,
        bundle_record(request.bundle, manifest),
        sizes(request.bundle, manifest, lowered, *separate),
        {"threads": list(threads), "rounds": 1 if facts.tier == "b" else request.rounds},
        notes=[] if base else [NO_BASE],
    )
    try:
        with device.workspace() as workspace:
            run = DeviceRun(workspace, runner, variants, outcome)
            run.put()
            outcome.conditions["before"] = conditions_of(device)
            run.outputs(expected, manifest)
            model, least = manifest.causal_lm, not outcome.timing_valid
            _measure(run, Workload.fitting(model.max_length, model.prefill_length, least=least))
            outcome.conditions["after"] = conditions_of(device)
            if outcome.timing_valid:
                outcome.notes += condition_notes(**outcome.conditions, cores=facts.cores)
    except DeviceLostError as error:
        outcome.lost = str(error)
    return outcome


def _measure(run: DeviceRun, workload: Workload) -> None:
    settings, threads = run.profile.settings, run.profile.settings["threads"]
    if run.profile.timing_valid:
        workload = run.calibrated(workload, threads[0])
    settings |= asdict(workload)
    run.rounds(settings["rounds"], threads, workload)
    run.operators(workload)


def profiled_manifest(request: ProfileRequest) -> Manifest:
    """Read the bundle's manifest and check that it can be profiled.

    Raises:
        BundleError: as :func:`profile`.
    """
    manifest = Manifest.read(request.bundle)
    if not isinstance(manifest.model, CausalLm):
        raise BundleError(
            f"the base model of {request.bundle} is of kind {manifest.model.kind}, expected "
            f"{CausalLm.kind}: only language models are profiled"
        )
    if isinstance(manifest.swap, Methods | Data):
        what = "method" if isinstance(manifest.swap, Methods) else "data file"
        raise BundleError(
            f"{request.bundle} has one {what} per task; profile a bundle whose factors are inputs",
            options=["swap=inputs"],
        )
    return manifest


def bundle_record(path: Path, manifest: Manifest) -> dict:
    """Describe a bundle for the results."""
    return {
        "name": path.resolve().name,
        "program_sha256": manifest.files[PROGRAM].sha256,
        "base_model": manifest.base_model,
        "method": manifest.method,
        "quantize": manifest.quantize,
        "max_length": manifest.causal_lm.max_length,
        "tasks": len(manifest.tasks),
    }


def thread_counts(counts: Sequence[int] | None, cores: int) -> Sequence[int]:
    """Return the numbers of threads to measure with, by default up to the device's cores.

    Raises:
        UsageError: a number is below 1 or above the number of cores.
    """
    threads = counts or [count for count in THREADS if count <= cores]
    if min(threads) < 1 or max(threads) > cores:
        raise UsageError(
            f"{','.join(map(str, threads))} threads: expected numbers from 1 to {cores}, the "
            "device's cores",
            options=["threads"],
        )
    return threads


def _runner(request: ProfileRequest, device: Device | Host, abi: str) -> Runner:
    if request.runner:
        return own_runner(request.runner)
    return host_runner() if isinstance(device, Host) else device_runner(abi)
