"""The Android library on a JVM: tests of ``host/hydraopt`` and ``host/coroutines``, by Maven.

They ran on real programs and the real ExecuTorch runtime, under stand-ins for the AAR's classes,
and compared with what Python's session and PyPI's ``tokenizers`` make of the same inputs.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest
from android_host import HOST, check_passed

from hydraopt.formats.manifest import Manifest
from hydraopt.profiling.host import Host
from hydraopt.profiling.runner import host_runner, run_script
from hydraopt.profiling.variants import bundle_variant
from hydraopt.runtime import Session, verify

pytestmark = pytest.mark.android

TESTS = [
    (module, path.stem)
    for module in ("hydraopt", "coroutines")
    for path in sorted((HOST / module / "src" / "test").rglob("*Test.kt"))
]
ONLY_WITH_THE_AAR = {"theAarHasAllThatIsPinned"}


@pytest.mark.parametrize(("module", "name"), TESTS)
def test_on_a_jvm(android, module, name):
    check_passed(android.report(module, name), may_skip=ONLY_WITH_THE_AAR)


def test_a_bundle_into_which_kotlin_installed_is_whole(android):
    bundle = android.fixtures / "installed"
    assert verify(bundle)["tasks"] == 5
    assert Manifest.read(bundle).versions == {"later": 2}


def test_a_switch_takes_about_as_long_as_in_python(android):
    bundle = android.fixtures / "zoo"
    jvm = json.loads((android.fixtures / "switches.json").read_text())["p50"]
    python, runner = median(_python_switches(bundle)), median(_runner_switches(bundle))
    print(f"a switch takes {jvm:.2f} ms on the JVM, {python:.2f} in Python, {runner:.2f} in C++")
    assert jvm < 3 * python + 1


def _python_switches(bundle: Path) -> Iterator[float]:
    session = Session.open(bundle)
    for task in session.tasks * 10:
        start = time.perf_counter()
        session.switch(task)
        yield 1000 * (time.perf_counter() - start)


def _runner_switches(bundle: Path) -> Iterator[float]:
    """Without comparing hashes, which the runner does not."""
    variant, runner = bundle_variant(bundle, Manifest.read(bundle)), host_runner()
    switches = [line for switch in variant.switches * 10 for line in switch]
    with Host().workspace() as workspace:
        workspace.put({**runner.files, **variant.files})
        records = run_script(workspace, runner, ["threads 1", *variant.load, *switches])
    for record in records[-len(switches) :]:
        yield record["map_ms"] + record["unpack_ms"]
