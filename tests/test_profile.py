"""`hydraopt profile` from a bundle to a report: on this machine, behind adb, and on arm64."""

import base64
import json
import shutil
import signal
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from devices import living_processes, require_tier, wait_until
from sealed_files import reseal
from typer.testing import CliRunner

from hydraopt.cli import app as cli
from hydraopt.errors import BundleError, LoweringError, OutputError, ProfilingError, UsageError
from hydraopt.formats.manifest import Manifest
from hydraopt.lowering.alternatives import load_base_of
from hydraopt.profiling import emulator
from hydraopt.profiling.adb import ROOT, Device
from hydraopt.profiling.host import Host
from hydraopt.profiling.results import Measurements
from hydraopt.profiling.runner import host_runner

pytestmark = pytest.mark.slow

TASKS = ("alpha", "beta", "gamma")
VARIANTS = ("bundle", "baked", "constants", "ptd")
PNG = b"\x89PNG\r\n\x1a\n"


def profile(bundle, *options, output=None):
    arguments = ["profile", str(bundle), *map(str, options)]
    done = CliRunner().invoke(cli.app, arguments + (["-o", str(output)] if output else []))
    return done, json.loads((output / "results.json").read_text()) if output else None


@pytest.fixture(scope="module")
def report(compiler, two_cores, tier_a, bundle, base, adapter_dirs, tmp_path_factory):
    """Directory of a whole report, made behind adb."""
    directory = tmp_path_factory.mktemp("profile") / "report"
    options = ["--serial", tier_a.serial, "--base", base, "--adapters", adapter_dirs[0].parent]
    done, _ = profile(bundle, *options, "--threads", "1,2", "--rounds", 2, output=directory)
    assert done.exit_code == 0, done.exception or done.stderr
    return directory


@pytest.fixture(scope="module")
def results(report):
    return json.loads((report / "results.json").read_text())


def test_it_is_complete(results, tier_a):
    assert results["status"] == "complete"
    assert results["timing_valid"]
    assert results["device"]["serial"] == tier_a.serial
    assert results["device"]["device_type"] == "emulated Linux device"
    assert any("not a phone's" in note for note in results["notes"])


def test_every_variant_is_measured_with_every_number_of_threads(results):
    measured = Measurements(results)
    for variant in VARIANTS:
        for threads in (1, 2):
            for metric in ("load_warm_ms", "first_inference_ms", "swap_ms", "first_token_ms"):
                assert measured.get(variant, metric, threads)["median"] > 0
            for metric in ("prefill_ms", "decode_ms", "peak_bytes"):
                assert measured.get(variant, metric, threads)["median"] > 0
            assert len(measured.get(variant, "decode_ms", threads)["round_medians"]) == 2
    switches = measured.get("bundle", "swap_ms", 1)
    assert switches["count"] == 200
    assert switches["p5"] <= switches["median"] <= switches["p95"]


def test_every_record_says_on_what_it_was_measured(results):
    device = results["device"]
    for row in results["measurements"]:
        assert {key: row[key] for key in ("model", "abi", "kernel", "device_type")} == {
            key: device[key] for key in ("model", "abi", "kernel", "device_type")
        }
        assert row["threads"] in (1, 2)
        assert row["timing_valid"]


def test_outputs_of_every_task_are_compared(results):
    compared = {name: found["tasks"] for name, found in results["outputs"].items()}
    assert compared == {"bundle": len(TASKS), "baked": 1, "constants": 1, "ptd": 1}
    assert all(x["largest_difference"] < 1e-3 for x in results["outputs"].values())


def test_switching_takes_no_memory(results):
    assert Measurements(results).get("bundle", "growth_bytes", 1)["median"] <= 128 * 1024


def test_sizes_are_those_of_the_files(results, bundle, adapter_dirs):
    sizes = results["sizes"]
    parts = dict(sizes["bundle"])
    needed = {"manifest.json", *Manifest.read(bundle).phone_names}
    files = [bundle / name for name in needed]
    total, largest = parts.pop("total"), parts.pop("largest_pack")
    assert total == sum(parts.values()) == sum(file.stat().st_size for file in files)
    assert largest == max(file.stat().st_size for file in bundle.glob("packs/*"))
    adapters = [file for x in adapter_dirs for file in x.glob("adapter_*")]
    assert sizes["separate_adapters"] == sum(file.stat().st_size for file in adapters)
    assert sizes["variants"]["bundle"]["at_tasks"] == total


def test_operators_are_timed(results):
    for variant in ("bundle", "baked"):
        records = results["operators"][variant]
        assert any(x["delegated"] and "GEMM" in x["operator"] for x in records)
        assert [x["ms"] for x in records] == sorted((x["ms"] for x in records), reverse=True)
    slots = [x for x in results["operators"]["bundle"] if "Batch Matrix" in x["operator"]]
    assert sum(x["calls"] for x in slots) >= 2 * 7  # A and B of seven adapted layers


class Page(HTMLParser):
    """Collects what a page shows and what it would load."""

    def __init__(self):
        super().__init__()
        self.images, self.loaded, self.open = [], [], []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("src", "href"):
                (self.images if value.startswith("data:") else self.loaded).append(value)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_holds_everything_it_shows(report):
    page = Page()
    page.feed((report / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert page.loaded == []
    assert len(page.images) == 4
    for image in page.images:
        assert base64.b64decode(image.partition("base64,")[2]).startswith(PNG)


def test_the_markdown_has_the_same_tables(report):
    text = (report / "report.md").read_text()
    for title in ("Latency", "A switch", "Threads", "Size of the bundle", "Size against", "Operat"):
        assert f"## {title}" in text
    assert (
        "| this bundle | baked into the base | LoRA as constants | .pte + .ptd per task |" in text
    )


def test_nothing_stays_on_the_device_but_the_cache(report, tier_a):
    assert tier_a.shell(f"ls {ROOT}", "list").split() == ["cache"]


def test_a_report_compares_with_itself(report):
    done = CliRunner().invoke(cli.app, ["compare", str(report), str(report)])
    assert done.exit_code == 0, done.output
    assert "0 regressions" in done.output


def test_this_machine_without_the_other_variants(compiler, bundle, tmp_path):
    done, found = profile(bundle, "--serial", "host", "--rounds", 1, output=tmp_path / "report")
    assert done.exit_code == 0, done.exception
    assert any("without a base model" in note for note in found["notes"])
    assert {row["variant"] for row in found["measurements"]} == {"bundle"}
    assert found["device"]["device_type"] == "host"
    assert "this bundle" in done.stdout


def test_arm64_computes_the_same_and_its_times_mean_nothing(
    arm64_compiler, tier_b, bundle, tmp_path
):
    done, found = profile(bundle, "--serial", tier_b.serial, output=tmp_path / "report")
    assert done.exit_code == 0, done.exception
    assert found["device"]["abi"] == "arm64-v8a"
    assert found["outputs"]["bundle"]["tasks"] == len(TASKS)
    assert found["outputs"]["bundle"]["largest_difference"] < 1e-3
    assert not found["timing_valid"]
    assert not any(row["timing_valid"] for row in found["measurements"])
    assert any("instruction by instruction" in note for note in found["notes"])


def test_another_output_fails_the_run(compiler, bundle, tmp_path):
    """A runner that reads another task's pack."""
    wrong = tmp_path / "wrong"
    built = host_runner().files["runner"]
    wrong.write_text(f"#!/bin/sh\nsed s/beta/alpha/ $1 > other\nexec {built} other\n")
    wrong.chmod(0o755)
    done, _ = profile(bundle, "--serial", "host", "--runner", wrong, "--rounds", 1)
    assert isinstance(done.exception, ProfilingError)
    message = "bundle on host computes other logits than this machine for 1 of 3 tasks (first: beta"
    assert message in str(done.exception)


@pytest.fixture
def own_device(private_adb, tmp_path, monkeypatch):
    """A device apart from the one that other tests share."""
    require_tier("a")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    yield emulator.start("a")
    emulator.stop("a")


@pytest.fixture
def measuring(compiler, two_cores, own_device, bundle, tmp_path):
    """A profile in a process of its own, past its first measurement, with the runner halted."""
    output = tmp_path / "report"
    command = [sys.executable, "-c", "from hydraopt.cli import main; main()", "profile"]
    command += [str(bundle), "--serial", own_device.serial, "--rounds", "500", "-o", str(output)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    device = Device(own_device.serial)
    # halted, it is certainly at work when something happens to it
    halt = f"cd {ROOT}/run-* && grep -q 'threads 2' script && kill -STOP $(cat pid)"
    script = f"({halt} && sleep 0.1 && [ -e pid ] && echo halted) 2> /dev/null; true"

    def halted() -> bool:
        assert running.poll() is None, running.communicate()
        return "halted" in device.shell(script, "halt the runner")

    try:
        wait_until(halted, seconds=600)
        yield running, output
    finally:
        running.kill()
        running.wait()


def test_a_device_lost_in_the_middle(measuring, own_device, tmp_path):
    """One clear line, what was measured is kept and marked, nothing stays behind."""
    running, output = measuring
    emulator.stop("a")
    _, messages = running.communicate(timeout=300)
    errors = [line for line in messages.splitlines() if "error:" in line]
    assert running.returncode == 1
    assert len(errors) == 1
    assert f"device {own_device.serial} went away when asked to run script" in errors[0]
    assert f"the measurements so far are in {output}" in errors[0]
    found = json.loads((output / "results.json").read_text())
    assert found["status"] == "partial"
    assert found["lost"]
    assert found["outputs"]["bundle"]["tasks"] == len(TASKS)
    assert Measurements(found).get("bundle", "swap_ms")["count"] >= 100
    assert living_processes(own_device.serial) == []
    assert list(tmp_path.glob(".*")) == []


def test_an_interrupted_profile_leaves_nothing_on_the_device(measuring, own_device):
    running, _ = measuring
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=300)
    device = Device(own_device.serial)
    assert "run-" not in device.shell(f"ls {ROOT}", "list what is left")
    wait_until(lambda: "runner" not in device.shell("ps", "list what is left"))


def test_what_cannot_be_profiled_is_refused_before_anything_runs(
    compiler, bundle, tmp_path, monkeypatch
):
    monkeypatch.setattr(Host, "workspace", lambda _: pytest.fail("something runs"))
    closed = shutil.copytree(bundle, tmp_path / "closed")
    swap = {"mode": "methods", "methods": {"alpha": "task_0"}, "constant_bytes": 0}
    reseal(closed / "manifest.json", swap=swap)
    for arguments, error, message in (
        ([closed], BundleError, "has one method per task; profile a bundle whose factors are"),
        ([bundle, "--threads", "1,999"], UsageError, "expected numbers from 1 to"),
        ([bundle, "--threads", "many"], UsageError, "expected integers such as 1,2,4"),
        ([bundle, "--runner", tmp_path / "none"], ProfilingError, "there is no runner"),
        ([bundle, "-o", tmp_path], OutputError, "exists already"),
        ([bundle, "--adapters", tmp_path], ProfilingError, "has no PEFT directory alpha, expected"),
    ):
        done, _ = profile(*arguments, "--serial", "host")
        assert isinstance(done.exception, error), arguments
        assert message in str(done.exception)


def test_another_base_than_the_bundles_is_refused(bundle, base, tmp_path):
    other = shutil.copytree(base, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
    with pytest.raises(LoweringError, match=r"has configuration .* the bundle's has .*; pass"):
        load_base_of(Manifest.read(bundle), str(other))
