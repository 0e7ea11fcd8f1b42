"""The Android library on a JVM: Maven builds ``android_demo/host`` and runs its tests.

They run on real programs and the real ExecuTorch runtime, under stand-ins for the AAR's classes,
and compare with what Python's session and PyPI's ``tokenizers`` make of the same inputs.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from xml.etree import ElementTree

import pytest
from android_bundles import write_answers, write_damaged, write_probabilities
from android_host import HOST, check_passed, host_library, java_home, run_tests
from android_tokenizers import write_golden, write_refused
from devices import require_packages
from encoders import ENCODER_ID, save_base, save_lora, tiny_bert

from hydraopt.adapters import read_adapters
from hydraopt.formats.manifest import Manifest
from hydraopt.lowering.settings import ExportSettings
from hydraopt.merging.private import private
from hydraopt.packing import code_verbatim
from hydraopt.profiling.host import Host
from hydraopt.profiling.runner import host_runner, run_script
from hydraopt.profiling.variants import bundle_variant
from hydraopt.runtime import Session
from hydraopt.zoo.tasks import TASKS, test_examples

test_examples.__test__ = False  # a function of the zoo, not a test
pytestmark = pytest.mark.android

TESTS = sorted(path.stem for path in (HOST / "hydraopt" / "src" / "test").rglob("*Test.kt"))
ONLY_WITH_THE_AAR = {"theAarHasAllThatIsPinned"}
FORMS = ("zoo", "pieces", "portable", "quantised", "methods", "static")  # that are asked
TINY_TASKS = ("alpha", "beta", "gamma")
PROMPTS = ("hello", "x", "a longer prompt of 27 bytes")
CHATS = ("Hi", " Grüße\n", "<|im_end|>")


@pytest.fixture(scope="module")
def jvm(compiler) -> Path:
    """The JDK that Maven uses."""
    require_packages({"javac": "default-jdk-headless", "mvn": "maven"}, "the Android library")
    return java_home()


@pytest.fixture(scope="module")
def forms(request, exported, merged, base, tmp_path_factory) -> dict[str, Path]:
    """Bundles of every form that a phone may get, by name."""
    root = tmp_path_factory.mktemp("forms")
    shared = ("zoo", "pieces", "methods", "static")
    forms = {name: request.getfixturevalue(f"{name}_bundle") for name in shared}
    forms["tiny"] = request.getfixturevalue("bundle")
    portable = ExportSettings("none", attention="portable")
    forms["portable"] = exported("portable", lambda: merged, base, portable)
    quantised = ExportSettings("8da4w")
    forms["quantised"] = exported("quantised", lambda: code_verbatim(merged), base, quantised)
    forms["data"] = exported("data", lambda: merged, base, swap="data")
    save_base(tiny_bert(), root / "bert")
    save_lora(root / "alpha", tiny_bert(), ENCODER_ID, 0, target_modules=["query", "value"])
    encoders = read_adapters([root / "alpha"])
    forms["encoder"] = exported("encoder", lambda: private(encoders), root / "bert")
    return forms


@pytest.fixture(scope="module")
def fixtures(forms, other_bundle, tmp_path_factory) -> Path:
    """The directory that JVM tests read: bundles, tokenizers, what Python makes of inputs."""
    root = tmp_path_factory.mktemp("fixtures")
    for name, bundle in forms.items():
        (root / name).symlink_to(bundle)
    asked = {name: [(task, p, False) for task in TINY_TASKS for p in PROMPTS] for name in FORMS}
    asked["pieces"] += [("beta", message, True) for message in CHATS]
    asked["zoo"] = [(task, test_examples(task, 1)[0][0], False) for task in sorted(TASKS)]
    for name, cases in asked.items():
        write_answers(forms[name], cases, root / f"{name}-answers.json")
    for name in ("damaged", "refused"):
        (root / name).mkdir()
    write_damaged(forms["tiny"], other_bundle, root / "damaged")
    write_refused(root / "refused")
    write_golden(root / "tokenizers", 2000)
    write_probabilities(root / "probabilities.json")
    return root


@pytest.fixture(scope="module")
def reports(jvm, fixtures) -> dict[str, ElementTree.Element]:
    """Maven's reports by test class."""
    return run_tests("hydraopt", fixtures=fixtures, host_library=host_library(jvm))


@pytest.mark.parametrize("name", TESTS)
def test_on_a_jvm(reports, name):
    check_passed(reports[name], may_skip=ONLY_WITH_THE_AAR)


def test_a_switch_takes_about_as_long_as_in_python(reports, fixtures):
    bundle = fixtures / "zoo"
    jvm = json.loads((fixtures / "switches.json").read_text())["p50"]
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
