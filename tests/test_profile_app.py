"""`hydraopt profile --via app`: a device that is played, and one that is not Android."""

import json
import re
from pathlib import Path

import pytest
from scripted_android import SERIAL, phone  # noqa: F401
from typer.testing import CliRunner

from hydraopt.cli import app as cli
from hydraopt.errors import DeviceError, HydraOptError, ProfilingError, UsageError
from hydraopt.files import LIST
from hydraopt.formats.manifest import Manifest
from hydraopt.profiling import app
from hydraopt.profiling.results import Measurements, statistics

pytestmark = pytest.mark.slow

METRICS = ("load_warm_ms", "first_inference_ms", "swap_ms", "first_token_ms", "prefill_ms")
METRICS += ("decode_ms", "peak_bytes", "growth_bytes", "swap_map_ms", "swap_unpack_ms")


def record(**changes) -> dict:
    """What the app writes; a test with the real one is in test_android_app.py."""
    rows = [
        {"variant": "bundle", "metric": metric, "threads": threads, "model": "of the app"}
        | {"abi": "", "kernel": "", "device_type": "", "timing_valid": True}
        | statistics([[1.0, 2.0], [3.0]])
        for metric in METRICS
        for threads in (1, 2)
    ]
    settings = {"threads": [1, 2], "rounds": 2, "prompt": 8, "tokens": 4}
    return {
        "format_version": 3,
        "run_id": "RUN_ID",
        "status": "complete",
        "lost": "",
        "timing_valid": True,
        "finished": "2026-11-25T12:00:00+00:00",
        "settings": settings | {"sequences": 3, "switches": 100, "reloads": 0},
        "notes": ["Measured in the app."],
        "measurements": rows,
        "operators": {},
    } | changes


@pytest.fixture
def device(phone, bundle):  # noqa: F811
    phone.measured(record())
    phone.computes(bundle, Manifest.read(bundle))
    return phone


@pytest.fixture
def apk(tmp_path) -> Path:
    (tmp_path / "demo.apk").write_bytes(b"apk")
    return tmp_path / "demo.apk"


def profile(bundle, *options):
    arguments = ["profile", str(bundle), "--via", "app", *map(str, options)]
    return CliRunner().invoke(cli.app, arguments)


def refused(bundle, *options) -> HydraOptError:
    """The error, whose message is one line."""
    error = profile(bundle, *options).exception
    assert isinstance(error, HydraOptError), error
    assert "\n" not in str(error)
    return error


def test_it_installs_starts_waits_and_renders_the_same_report(device, bundle, apk, tmp_path):
    report = tmp_path / "report"
    done = profile(bundle, "--apk", apk, "--threads", "1,2", "--rounds", 2, "-o", report)
    assert done.exit_code == 0, done.exception
    assert device.calls("install") == [f"-r -t {apk}"]
    results = json.loads((report / "results.json").read_text())
    assert (results["status"], results["device"]["serial"]) == ("complete", SERIAL)
    assert results["device"]["device_type"] == "phone"
    assert {row["model"] for row in results["measurements"]} == {"Google Pixel 8"}
    assert results["outputs"]["bundle"]["tasks"] == 3
    assert results["outputs"]["bundle"]["largest_difference"] < 1e-6
    assert results["sizes"]["bundle"]["total"] > 0
    assert results["bundle"]["tasks"] == 3
    assert set(results["conditions"]) == {"before", "after"}
    assert Measurements(results).get("bundle", "swap_ms", 2)["median"] == 2
    names = {path.name for path in report.iterdir()}
    assert {"report.md", "report.html", "switch.png", "decode.png"} <= names
    assert "Google Pixel 8" in done.stdout
    same = CliRunner().invoke(cli.app, ["compare", str(report), str(report)])
    assert same.exit_code == 0
    assert same.stdout.strip().endswith("figures")


def test_the_app_is_asked_for_what_the_profiler_was(device, bundle):
    assert profile(bundle, "--threads", "1,4", "--rounds", 3).exit_code == 0
    start, stop = device.calls("am")
    assert start.startswith(f"start -W -S -n {app.ACTIVITY} --es run_id ")
    assert start.endswith(
        "--es bundle benchmark/bundle --es outputs benchmark/requests "
        "--es rounds 3 --es threads 1,4"
    )
    assert stop == f"force-stop {app.PACKAGE}"


def test_the_app_gets_what_a_phone_needs_and_the_tokens(device, bundle):
    assert profile(bundle).exit_code == 0
    seen = device.root / "seen"
    left = {LIST, *Manifest.read(bundle).swap.growth}
    files = {x.relative_to(bundle): x for x in bundle.rglob("*.*") if x.name not in left}
    copied = {path.relative_to(seen / "bundle") for path in (seen / "bundle").rglob("*.*")}
    assert copied == set(files)
    for name, path in files.items():
        assert (seen / "bundle" / name).read_bytes() == path.read_bytes()
    lines = (seen / "requests").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["alpha", "beta", "gamma"]
    assert all(re.fullmatch(r"\w+\t\d+(,\d+){7}\t\d+,\d+,\d+", line) for line in lines)


def test_nothing_stays_on_the_device(device, bundle):
    assert profile(bundle).exit_code == 0
    device.answer("pid", "")
    (device.root / "results").unlink()
    refused(bundle)
    assert list((device.root / "app" / "files").iterdir()) == []
    assert not list((device.root / "tmp").glob("run-*"))


def test_an_app_that_computes_something_else_is_no_measurement(device, bundle):
    device.computes(bundle, Manifest.read(bundle), 1.01)
    error = refused(bundle)
    assert isinstance(error, ProfilingError)
    assert str(error).startswith(f"the app on {SERIAL} computes other logits than this machine")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            "adb: failed to install demo.apk: Failure [INSTALL_FAILED_UPDATE_INCOMPATIBLE: x]",
            "[INSTALL_FAILED_UPDATE_INCOMPATIBLE: x]; the installed app has another key; run: a",
        ),
        (
            "adb: failed to install demo.apk: Failure [INSTALL_FAILED_OLDER_SDK: x]",
            "cannot install {apk}: adb: failed to install demo.apk: Failure [INSTALL_FAILED_OLD",
        ),
    ],
)
def test_an_app_that_cannot_be_installed(device, bundle, apk, output, message):
    device.answer("install", output)
    error = refused(bundle, "--apk", apk)
    assert isinstance(error, DeviceError)
    assert message.format(apk=apk) in str(error)
    assert device.calls("am") == []


@pytest.mark.parametrize(
    ("name", "answer", "message"),
    [
        ("installed", "", f"device {SERIAL} has no app {app.PACKAGE}; build it with make apk"),
        (
            "run-as",
            "run-as: package not debuggable: io.hydraopt.demo\n",
            "which takes a debug build: run-as: package not debuggable",
        ),
        (
            "am",
            "Starting: Intent { }\nError type 3\nError: Activity class {x} does not exist.\n",
            "benchmark.BenchmarkActivity (Error: Activity class {x} does not exist.); install the",
        ),
        ("sdk", "", f"device {SERIAL} is not Android (Linux device): it cannot run the app; use"),
        ("results", "{", f"the app on {SERIAL} wrote no results (UnreadableError('not JSON"),
        ("results", '{"run_id": "RUN_ID"}', f"the app on {SERIAL} wrote no results (KeyError"),
    ],
)
def test_what_goes_wrong_on_the_device(device, bundle, name, answer, message):
    device.answer(name, answer)
    assert message in str(refused(bundle))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run_id": "another"}, "wrote results of run another, expected "),
        ({"format_version": 4}, "writes format version 4, expected 3; install the app of this ver"),
        ({"status": "failed", "lost": "no task"}, f"the app on {SERIAL} failed: no task"),
    ],
)
def test_results_that_are_not_wanted(device, bundle, changes, message):
    device.measured(record(**changes))
    assert message in str(refused(bundle))


def test_an_app_that_ends_or_takes_too_long(device, bundle, monkeypatch):
    (device.root / "results").unlink()
    monkeypatch.setattr(app, "WAIT_SECONDS", 1.0)
    assert re.search(
        r"wrote no results of run \w+ in 1 s; look at its screen", str(refused(bundle))
    )
    monkeypatch.setattr(app, "WAIT_SECONDS", 120.0)  # it is asked twice, however long that takes
    device.answer("pid", "")
    assert f"the app on {SERIAL} ended without results" in str(refused(bundle))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--serial", "host"], "--via app runs on an Android device"),
        (["--base", "x"], "--via app measures only the bundle"),
        (["--runner", "x"], "--via app measures only the bundle"),
        (["--apk", "none.apk"], "there is no none.apk; build it with make apk"),
        (["--threads", "99"], "99 threads: expected numbers from 1 to 9"),
    ],
)
def test_options_that_do_not_go_together(device, bundle, options, message):
    error = refused(bundle, *options)
    assert isinstance(error, UsageError)
    assert message in str(error)


def test_an_apk_is_for_the_app(bundle):
    done = CliRunner().invoke(cli.app, ["profile", str(bundle), "--apk", "x.apk"])
    assert str(done.exception) == "--apk installs the app; pass --via app with it"


def test_an_emulated_linux_device_is_no_android(tier_a, bundle):
    error = refused(bundle, "--serial", tier_a.serial)
    assert f"device {tier_a.serial} is not Android (emulated Linux device)" in str(error)
