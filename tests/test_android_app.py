"""The Android app without a phone: Maven builds ``android_demo/host/app`` and runs its tests.

Its presenter runs on the plain JVM and its screen in Robolectric, both on the real library, real
programs and the real ExecuTorch runtime. Pictures are drawn on the way; ``make screenshots`` keeps
those that the README shows.
"""

import re
from pathlib import Path

import pytest
import torch
from android_bundles import write_texts
from android_host import DEMO, HOST, check_passed, host_library, java_home, run_tests
from conftest import FLOAT32, save_adapter, tiny_llama
from devices import require_packages
from run_rules import MachineLacksError
from transformers import LlamaForCausalLM

from hydraopt.adapters import read_adapters
from hydraopt.lowering.bundle import export_bundle
from hydraopt.merging.private import private
from hydraopt.zoo.model import new_tokenizer
from hydraopt.zoo.tasks import TASKS, test_examples

test_examples.__test__ = False  # a function of the zoo, not a test
pytestmark = [pytest.mark.android, pytest.mark.slow]

TESTS = sorted(path.stem for path in (HOST / "app" / "src" / "test").rglob("*Test.kt"))
OUTPUT = "build/app"  # beside the library's own tests, which may run at the same time
PICTURES = DEMO.parent / "docs" / "images" / "android"
FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")


def slow_model() -> LlamaForCausalLM:
    """One whose answer takes seconds, to the end of the context: something can happen meanwhile."""
    model = tiny_llama(
        hidden_size=768,
        intermediate_size=8192,
        num_attention_heads=12,
        num_key_value_heads=4,
        max_position_embeddings=384,
    )
    with torch.no_grad():
        model.lm_head.weight[model.config.eos_token_id] = 0  # never the likeliest
    return model


@pytest.fixture(scope="module")
def jvm(compiler) -> Path:
    """The JDK that Maven uses."""
    programs = {"javac": "default-jdk-headless", "mvn": "maven", "aapt2": "aapt"}
    require_packages(programs, "the Android app")
    if not FRAMEWORK.exists():
        raise MachineLacksError("the Android app needs the Debian package android-framework-res")
    return java_home()


@pytest.fixture(scope="module")
def slow_bundle(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("slow")
    slow_model().save_pretrained(root / "base")
    new_tokenizer().save_pretrained(root / "base")
    for seed, task in enumerate(("first", "second")):
        save_adapter(root / task, seed, base_model=slow_model())
    adapters = private(read_adapters([root / "first", root / "second"]))
    export_bundle(adapters, str(root / "base"), root / "bundle", FLOAT32)
    return root / "bundle"


@pytest.fixture(scope="module")
def reports(jvm, zoo_bundle, slow_bundle, tmp_path_factory):
    """Maven's reports by test class."""
    fixtures = tmp_path_factory.mktemp("fixtures")
    (fixtures / "zoo").symlink_to(zoo_bundle)
    (fixtures / "slow").symlink_to(slow_bundle)
    write_texts(slow_bundle, [("first", "Once upon a time")], fixtures / "slow-answers.txt")
    asked = [(task, test_examples(task, 1)[0][0]) for task in sorted(TASKS)]
    write_texts(zoo_bundle, asked, fixtures / "zoo-answers.txt")
    properties = {"fixtures": fixtures, "host_library": host_library(jvm)}
    return run_tests("app", OUTPUT, library_tests_skip=True, **properties)


@pytest.mark.parametrize("name", TESTS)
def test_on_a_jvm(reports, name):
    check_passed(reports[name])


def test_pictures_are_those_of_the_app(reports):
    drawn = HOST / "app" / OUTPUT / "screenshots"
    kept = {path.name for path in PICTURES.glob("*.png")}
    assert kept and kept <= {path.name for path in drawn.glob("*.png")}
    readme = (DEMO / "README.md").read_text()
    assert set(re.findall(r"docs/images/android/([\w-]+\.png)", readme)) == kept
