"""Measuring a bundle in the Android app: installs it, starts its benchmark, pulls the results."""

import logging
import shlex
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path, PurePosixPath

from ..errors import BundleError, DeviceError, DeviceLostError, ProfilingError, UsageError
from ..formats.manifest import MANIFEST, Manifest
from ..formats.swaps import Inputs
from ..reading import json_value
from ..schemes import find_scheme
from .adb import PUSH_RATE, TIMEOUT, Device, DeviceWorkspace
from .conditions import SCRIPT, condition_notes, parse_conditions
from .facts import Facts
from .measure import ProfileRequest, bundle_record, profiled_manifest, thread_counts
from .outputs import LOGITS, TOKENS, Expected, compare_outputs, expected_outputs
from .results import DEVICE_NOTES, FORMAT_VERSION, RESULTS
from .sizes import separate_bytes, sizes

logger = logging.getLogger(__name__)

PACKAGE = "io.hydraopt.demo"
ACTIVITY = f"{PACKAGE}/.benchmark.BenchmarkActivity"
FILES = "files/benchmark"  # in the directory in which run-as starts
BUNDLE, ASKED = "bundle", "asked"
ANDROID = ("phone", "Android emulator")
WAIT_SECONDS = 3600.0  # no phone takes longer
POLL_SECONDS = 1.0  # asking often would disturb what is measured
PID = "pid="
INSTALL_HINTS = {
    "INSTALL_FAILED_UPDATE_INCOMPATIBLE": f"the installed app has another key; run: adb uninstall "
    f"{PACKAGE}",
    "INSTALL_FAILED_USER_RESTRICTED": "allow installing over USB in the developer options",
    "INSTALL_FAILED_INSUFFICIENT_STORAGE": "free some space on the device",
}


def profile_app(request: ProfileRequest, device: Device, apk: Path | None) -> dict:
    """Measure a bundle in the app on a device.

    Args:
        request: what to measure; it has no ``base`` and no ``runner``.
        device: an Android device.
        apk: the app, a debug build, to install first; None for the installed one.

    Returns:
        the record of results, as of :meth:`.results.Profile.record`.

    Raises:
        BundleError: as :func:`.measure.profile`, or a bundle with its adapters in the weights.
        UsageError: no such APK.
        DeviceError: no Android, the app is not there or cannot be installed, started or read, or
            does not come to an end.
        ProfilingError: the app failed, or computes something else than this machine.
    """
    manifest = profiled_manifest(request)
    if not isinstance(manifest.swap, Inputs):
        raise BundleError(
            f"{request.bundle} has its adapters in the weights: there is no switch to measure in "
            "the app; profile it without --via app"
        )
    facts = device.facts()
    if facts.device_type not in ANDROID:
        raise DeviceError(
            f"device {device.serial} is no Android ({facts.device_type}): it cannot run the app; "
            "use a phone or an Android emulator, or profile without --via app"
        )
    threads = thread_counts(request.threads, facts.cores)
    separate = separate_bytes(manifest, request.adapters)
    _install(device, apk)
    expected = expected_outputs(request.bundle, manifest)
    with device.workspace() as workspace, _app_files(device):
        _put(workspace, request.bundle, manifest, expected)
        before = parse_conditions(device.shell(SCRIPT, "tell its clocks"))
        results = _run(device, request.rounds, threads)
        after = parse_conditions(device.shell(SCRIPT, "tell its clocks"))
        logits = _logits(workspace)
    where = f"the app on {device.serial}"
    outputs = compare_outputs(logits, expected, find_scheme(manifest.quantize).tolerance, where)
    note = DEVICE_NOTES.get(facts.device_type)
    return {
        **_on(results, facts),
        "hydraopt": version("hydraopt"),
        "executorch": version("executorch"),
        "bundle": bundle_record(request.bundle, manifest),
        "conditions": {"before": before, "after": after},
        "sizes": sizes(request.bundle, manifest, {}, *separate),
        "outputs": {BUNDLE: outputs},
        "notes": [
            *([note] if note else []),
            *results["notes"],
            *condition_notes(before, after, facts.cores),
        ],
    }


def _install(device: Device, apk: Path | None) -> None:
    """Install the app, or see that it is there, and that its files can be read."""
    if apk is None:
        found = device.shell(f"pm path {PACKAGE} < /dev/null 2>/dev/null; true", "list its apps")
        if not found.startswith("package:"):
            raise DeviceError(
                f"device {device.serial} has no app {PACKAGE}; build it with make apk and pass "
                "--apk FILE"
            )
    elif not apk.is_file():
        raise UsageError(f"there is no {apk}; build it with make apk")
    else:
        try:
            timeout = 4 * TIMEOUT + apk.stat().st_size / PUSH_RATE
            device.adb("install", "-r", "-t", str(apk), what=f"install {apk}", timeout=timeout)
        except DeviceLostError:
            raise
        except DeviceError as error:
            hints = [hint for code, hint in INSTALL_HINTS.items() if code in str(error)]
            raise DeviceError("; ".join([str(error), *hints])) from None
    what = f"open the files of {PACKAGE}, which takes a debug build"
    device.shell(f"{_as_app('true')} || exit 1", what)


def _as_app(*command: str) -> str:
    """A shell command that runs as the app, in its directory; it does not read the script."""
    return f"run-as {PACKAGE} {shlex.join(command)} < /dev/null"


@contextmanager
def _app_files(device: Device) -> Iterator[None]:
    """An empty directory in the app's files; at the end the app is stopped and it is removed."""
    clear = _as_app("rm", "-rf", FILES)
    device.shell(f"{clear} && {_as_app('mkdir', '-p', FILES)} || exit 1", "make room in the app")
    try:
        yield
    finally:
        try:
            stop = f"am force-stop {PACKAGE} < /dev/null"
            device.shell(f"{stop}; {clear} || exit 1", "remove the app's benchmark")
        except DeviceError as error:
            logger.warning("%s of %s stays on the device: %s", FILES, PACKAGE, error)


def _put(
    workspace: DeviceWorkspace,
    bundle: Path,
    manifest: Manifest,
    expected: Mapping[str, Expected],
) -> None:
    """Copy the bundle, and the tokens whose logits are compared, into the app's files.

    They take the way through the device's cache: what did not change is not pushed again. The app
    may not follow its links, so they are copied from there.
    """
    files = {
        f"{BUNDLE}/{name}": bundle / name for name in (MANIFEST, *sorted(manifest.phone_names))
    }
    workspace.put(files)
    workspace.write(ASKED, "".join(map(asked, expected, expected.values())))
    parents = sorted({str(PurePosixPath(FILES, name).parent) for name in files})
    lines = ["set -e", f"cd {workspace.path}", _as_app("mkdir", "-p", *parents)]
    for name in (*files, ASKED):
        target = shlex.quote(f"{FILES}/{name}")
        write = f"run-as {PACKAGE} sh -c {shlex.quote(f'cat > {target}')}"
        lines.append(f"cat {shlex.quote(name)} | {write}")
    size = sum(path.stat().st_size for path in files.values())
    what = f"copy the bundle into the app ({size / 1e6:.1f} MB)"
    workspace.device.shell("\n".join(lines), what, timeout=TIMEOUT + size / PUSH_RATE)


def asked(task: str, expected: Expected) -> str:
    """A line of what the app is asked to compute: the prompt at once, then tokens singly."""
    prompt, following = expected.tokens[:-TOKENS], expected.tokens[-TOKENS:]
    return f"{task}\t{','.join(map(str, prompt))}\t{','.join(map(str, following))}\n"


def _run(device: Device, rounds: int, threads: Sequence[int]) -> dict:
    """Start the benchmark and wait for its results."""
    run_id = uuid.uuid4().hex[:12]
    extras = {
        "run_id": run_id,
        "bundle": f"benchmark/{BUNDLE}",
        "outputs": f"benchmark/{ASKED}",
        "rounds": str(rounds),
        "threads": ",".join(map(str, threads)),
    }
    command = ["am", "start", "-W", "-S", "-n", ACTIVITY]
    command += [word for name, value in extras.items() for word in ("--es", name, value)]
    said = device.shell(f"{shlex.join(command)} < /dev/null 2>&1; true", "start the benchmark", 120)
    errors = [
        line.strip() for line in said.splitlines() if "Error: " in line or "Exception" in line
    ]
    if errors:
        raise DeviceError(
            f"device {device.serial} cannot start {ACTIVITY} ({errors[0]}); install the app of "
            "this version with --apk"
        )
    return _checked(_wait(device, run_id), device.serial, run_id)


def _wait(device: Device, run_id: str) -> str:
    """The text of the results, once it is there."""
    read = f"{_as_app('cat', f'{FILES}/{RESULTS}')} 2>/dev/null"
    script = f"{read}; echo; echo {PID}$(pidof {PACKAGE})"
    deadline, gone = time.monotonic() + WAIT_SECONDS, 0
    while time.monotonic() < deadline:
        text, _, pid = device.shell(script, "tell of the benchmark").rpartition(PID)
        if text.strip():
            return text
        gone = 0 if pid.strip() else gone + 1
        if gone > 1:  # it may have written and ended between the two questions
            raise DeviceError(
                f"the app on {device.serial} ended without results (out of memory?); see: "
                f"adb -s {device.serial} logcat -d -b crash -b events"
            )
        time.sleep(POLL_SECONDS)
    raise DeviceError(
        f"the app on {device.serial} gave no results of run {run_id} in {WAIT_SECONDS:.0f} s; "
        "look at its screen, or measure less with --rounds and --threads"
    )


def _checked(text: str, serial: str, run_id: str) -> dict:
    """The app's record, which must be of this run and format, and complete."""
    try:
        results = json_value(text)
        found, number, status = (results[x] for x in ("run_id", "format_version", "status"))
    except (ValueError, KeyError, TypeError) as error:
        raise ProfilingError(f"the app on {serial} wrote no results ({error!r})") from None
    if number != FORMAT_VERSION:
        raise ProfilingError(
            f"the app on {serial} writes format version {number}, expected {FORMAT_VERSION}; "
            "install the app of this version with --apk"
        )
    if found != run_id:
        raise DeviceError(
            f"the app on {serial} wrote results of run {found}, expected {run_id}: another "
            "benchmark runs there; run again after it"
        )
    if status != "complete":
        raise ProfilingError(f"the app on {serial} failed: {results['lost']}")
    return results


def _logits(workspace: DeviceWorkspace) -> bytes:
    """What the app computed."""
    source = _as_app("cat", f"{FILES}/{LOGITS}")
    workspace.device.shell(f"{source} | cat > {workspace.path}/{LOGITS}", "give back logits")
    with tempfile.TemporaryDirectory(prefix="hydraopt-") as scratch:
        target = Path(scratch) / LOGITS
        workspace.get(LOGITS, target)
        return target.read_bytes()


def _on(results: Mapping, facts: Facts) -> dict:
    """Results with the device as adb names it."""
    device = asdict(facts)
    named = {key: device[key] for key in ("model", "abi", "kernel", "device_type")}
    rows = [row | named for row in results["measurements"]]
    return {**results, "device": device, "measurements": rows}
