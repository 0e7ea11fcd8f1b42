"""Measure a bundle in the Android app: install it, run its benchmark, pull the results."""

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
from .adb import PUSH_RATE, TIMEOUT, Device, DeviceWorkspace
from .conditions import condition_notes, conditions_of
from .facts import Facts
from .measure import ProfileRequest, bundle_record, profiled_manifest, thread_counts
from .outputs import LOGITS, TOKENS, Expected, compare_outputs, expected_outputs
from .results import DEVICE_NOTES, FORMAT_VERSION, RESULTS
from .sizes import separate_bytes, sizes

logger = logging.getLogger(__name__)

PACKAGE = "io.hydraopt.demo"
ACTIVITY = f"{PACKAGE}/.benchmark.BenchmarkActivity"
FILES = "files/benchmark"  # relative to run-as's directory
BUNDLE, REQUESTS = "bundle", "requests"
ANDROID = ("phone", "Android emulator")
WAIT_SECONDS = 3600.0
POLL_SECONDS = 1.0  # frequent polling would disturb the measurement
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
        request: the request, without ``base`` and ``runner``.
        device: an Android device.
        apk: debug build of the app to install first; None uses the installed app.

    Returns:
        The results, as :meth:`.results.Profile.record` returns them.

    Raises:
        BundleError: as :func:`.measure.profile`, or the adapters are in the bundle's weights.
        UsageError: the APK does not exist.
        DeviceError: the device is not Android, or the app is missing, cannot be installed,
            started or read, or does not finish.
        ProfilingError: the app failed, or its outputs differ from this machine's.
    """
    manifest = profiled_manifest(request)
    if not isinstance(manifest.swap, Inputs):
        raise BundleError(
            f"{request.bundle} has its adapters in the weights: there is no switch to measure in "
            "the app; profile it with the runner",
            options=["via=runner"],
        )
    facts = device.facts()
    if facts.device_type not in ANDROID:
        raise DeviceError(
            f"device {device.serial} is not Android ({facts.device_type}): it cannot run the app; "
            "use a phone or an Android emulator, or profile with the runner",
            options=["via=runner"],
        )
    threads = thread_counts(request.threads, facts.cores)
    separate = separate_bytes(manifest, request.adapters)
    _install(device, apk)
    expected = expected_outputs(request.bundle, manifest)
    with device.workspace() as workspace, _app_files(device):
        _put(workspace, request.bundle, manifest, expected)
        before = conditions_of(device)
        results = _run(device, request.rounds, threads)
        after = conditions_of(device)
        logits = _logits(workspace)
    where = f"the app on {device.serial}"
    outputs = compare_outputs(logits, expected, manifest.loosest_scheme.tolerance, where)
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
                "the file",
                options=["apk"],
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
    """Return a shell command that runs as the app, in its directory, without standard input."""
    return f"run-as {PACKAGE} {shlex.join(command)} < /dev/null"


@contextmanager
def _app_files(device: Device) -> Iterator[None]:
    """Create an empty directory in the app's files; finally stop the app and remove it."""
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

    Files go through the device's cache, so unchanged ones are not pushed again. They are copied
    from there, as the app may not follow links to it.
    """
    files = {
        f"{BUNDLE}/{name}": bundle / name for name in (MANIFEST, *sorted(manifest.phone_names))
    }
    workspace.put(files)
    workspace.write(REQUESTS, "".join(map(request_line, expected, expected.values())))
    parents = sorted({str(PurePosixPath(FILES, name).parent) for name in files})
    lines = ["set -e", f"cd {workspace.path}", _as_app("mkdir", "-p", *parents)]
    for name in (*files, REQUESTS):
        target = shlex.quote(f"{FILES}/{name}")
        write = f"run-as {PACKAGE} sh -c {shlex.quote(f'cat > {target}')}"
        lines.append(f"cat {shlex.quote(name)} | {write}")
    size = sum(path.stat().st_size for path in files.values())
    what = f"copy the bundle into the app ({size / 1e6:.1f} MB)"
    workspace.device.shell("\n".join(lines), what, timeout=TIMEOUT + size / PUSH_RATE)


def request_line(task: str, expected: Expected) -> str:
    """Format a task's tokens for the app: the prompt in one call, then single tokens."""
    prompt, following = expected.tokens[:-TOKENS], expected.tokens[-TOKENS:]
    return f"{task}\t{','.join(map(str, prompt))}\t{','.join(map(str, following))}\n"


def _run(device: Device, rounds: int, threads: Sequence[int]) -> dict:
    """Start the benchmark and wait for its results."""
    run_id = uuid.uuid4().hex[:12]
    extras = {
        "run_id": run_id,
        "bundle": f"benchmark/{BUNDLE}",
        "outputs": f"benchmark/{REQUESTS}",
        "rounds": str(rounds),
        "threads": ",".join(map(str, threads)),
    }
    command = ["am", "start", "-W", "-S", "-n", ACTIVITY]
    command += [word for name, value in extras.items() for word in ("--es", name, value)]
    output = device.shell(
        f"{shlex.join(command)} < /dev/null 2>&1; true", "start the benchmark", 120
    )
    errors = [
        line.strip() for line in output.splitlines() if "Error: " in line or "Exception" in line
    ]
    if errors:
        raise DeviceError(
            f"device {device.serial} cannot start {ACTIVITY} ({errors[0]}); install the app of "
            "this version",
            options=["apk"],
        )
    return _checked(_wait(device, run_id), device.serial, run_id)


def _wait(device: Device, run_id: str) -> str:
    """Wait for the results and return their text."""
    read = f"{_as_app('cat', f'{FILES}/{RESULTS}')} 2>/dev/null"
    script = f"{read}; echo; echo {PID}$(pidof {PACKAGE})"
    deadline, gone = time.monotonic() + WAIT_SECONDS, 0
    while time.monotonic() < deadline:
        text, _, pid = device.shell(script, "report on the benchmark").rpartition(PID)
        if text.strip():
            return text
        gone = 0 if pid.strip() else gone + 1
        if gone > 1:  # it may have finished between the two commands
            raise DeviceError(
                f"the app on {device.serial} ended without results (out of memory?); see: "
                f"adb -s {device.serial} logcat -d -b crash -b events"
            )
        time.sleep(POLL_SECONDS)
    raise DeviceError(
        f"the app on {device.serial} wrote no results of run {run_id} in {WAIT_SECONDS:.0f} s; "
        "look at its screen, or measure fewer rounds or numbers of threads",
        options=["rounds", "threads"],
    )


def _checked(text: str, serial: str, run_id: str) -> dict:
    """Parse the app's results and check that they are complete, of this run and format."""
    try:
        results = json_value(text)
        found, number, status = (results[x] for x in ("run_id", "format_version", "status"))
    except (ValueError, KeyError, TypeError) as error:
        raise ProfilingError(f"the app on {serial} wrote no results ({error!r})") from None
    if number != FORMAT_VERSION:
        raise ProfilingError(
            f"the app on {serial} writes format version {number}, expected {FORMAT_VERSION}; "
            "install the app of this version",
            options=["apk"],
        )
    if found != run_id:
        raise DeviceError(
            f"the app on {serial} wrote results of run {found}, expected {run_id}: another "
            "benchmark is running there; run again when it is done"
        )
    if status != "complete":
        raise ProfilingError(f"the app on {serial} failed: {results['lost']}")
    return results


def _logits(workspace: DeviceWorkspace) -> bytes:
    """Read the logits that the app computed."""
    source = _as_app("cat", f"{FILES}/{LOGITS}")
    workspace.device.shell(f"{source} | cat > {workspace.path}/{LOGITS}", "give back logits")
    with tempfile.TemporaryDirectory(prefix="hydraopt-") as scratch:
        target = Path(scratch) / LOGITS
        workspace.get(LOGITS, target)
        return target.read_bytes()


def _on(results: Mapping, facts: Facts) -> dict:
    """Return the results with the device as adb describes it."""
    device = asdict(facts)
    columns = {key: device[key] for key in ("model", "abi", "kernel", "device_type")}
    rows = [row | columns for row in results["measurements"]]
    return {**results, "device": device, "measurements": rows}
