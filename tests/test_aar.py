"""The library's AARs, made without Gradle: what is in them, and an app that takes them."""

import json
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import aar
import pytest
from android_host import DEMO
from kotlin_apps import compiled, dependency, joined, jvm, resolved

from hydraopt.formats.manifest import Manifest
from hydraopt.runtime import Session

pytestmark = pytest.mark.android

SPACE = {"": "http://maven.apache.org/POM/4.0.0"}
LIBRARIES = {library.module: library for library in aar.libraries()}
APP = """
import io.hydraopt.Tokenizer
import io.hydraopt.TaskBundle
import io.hydraopt.coroutines.CoroutineSession
import java.io.File
import kotlinx.coroutines.flow.Flow

suspend fun answer(bundle: File): Flow<String> {
    val session = CoroutineSession.open(bundle)
    session.switchTo("alpha")
    return session.chat().stream("Hi")
}

fun main(arguments: Array<String>) {
    val (bundle, text) = arguments
    println(TaskBundle.open(File(bundle)).tasks)
    println(Tokenizer.read(File(bundle, "tokenizer.json")).encode(text).toList())
}
"""


@pytest.fixture(scope="module")
def repository(android, tmp_path_factory) -> Path:
    """A Maven repository with the libraries that the Android tests built."""
    directory = tmp_path_factory.mktemp("maven") / "repository"
    for library in LIBRARIES.values():
        aar.publish(library, directory)
    return directory


def published(repository: Path, module: str, ending: str) -> Path:
    artifact = LIBRARIES[module].artifact
    return repository / f"io/hydraopt/{artifact}/{aar.VERSION}/{artifact}-{aar.VERSION}{ending}"


def contents(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        names = opened.namelist()
        assert len(names) == len(set(names))
        return {name: opened.read(name) for name in names}


@pytest.mark.parametrize("module", LIBRARIES)
def test_an_aar_has_manifest_classes_and_rules(repository, module, tmp_path):
    inside = contents(published(repository, module, ".aar"))
    rules = {"proguard.txt"} if module == "hydraopt" else set()
    assert inside.keys() == {"AndroidManifest.xml", "R.txt", "classes.jar"} | rules
    manifest = ElementTree.fromstring(inside["AndroidManifest.xml"])
    build = (DEMO / module / "build.gradle.kts").read_text()
    assert manifest.get("package") == re.search(r'namespace = "(.*)"', build)[1]
    assert b'android:minSdkVersion="26"' in inside["AndroidManifest.xml"]
    if rules:
        named = re.search(r'consumerProguardFiles\("(.*)"\)', build)[1]
        assert inside["proguard.txt"] == (DEMO / module / named).read_bytes()
    (tmp_path / "classes.jar").write_bytes(inside["classes.jar"])
    names = contents(tmp_path / "classes.jar").keys()
    root = LIBRARIES[module].classes
    assert {path.relative_to(root).as_posix() for path in root.rglob("*.class")} < names
    assert {name for name in names if not name.endswith(".class")} == {
        f"META-INF/{module}.kotlin_module"
    }


@pytest.mark.parametrize("module", LIBRARIES)
def test_sources_are_those_of_the_module(repository, module):
    root = DEMO / module / "src" / "main" / "kotlin"
    assert contents(published(repository, module, "-sources.jar")) == {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.kt")
    }


@pytest.mark.parametrize("module", LIBRARIES)
def test_the_pom_says_what_gradle_says(repository, module):
    pom = ElementTree.parse(published(repository, module, ".pom")).getroot()
    build = (DEMO / module / "build.gradle.kts").read_text()
    publication = build[build.index("register<MavenPublication>") :]
    given = dict(re.findall(r'\b(\w+) = "(.*)"', publication.partition("licenses")[0]))
    assert given == {
        name: pom.findtext(name, None, SPACE)
        for name in ("groupId", "artifactId", "version", "name", "description")
    }
    license = dict(re.findall(r'\b(\w+) = "(.*)"', publication.partition("licenses")[2]))
    assert license == {x: pom.findtext(f".//license/{x}", None, SPACE) for x in ("name", "url")}
    assert pom.findtext("packaging", None, SPACE) == "aar"
    assert f'"io.hydraopt:hydraopt:{aar.VERSION}"' in (DEMO / "README.md").read_text()
    needed = {x.findtext("artifactId", None, SPACE) for x in pom.findall(".//dependency", SPACE)}
    modules = {f":{module}": library.artifact for module, library in LIBRARIES.items()}
    known = {
        "libs.executorch": "executorch-android",
        "libs.coroutines": "kotlinx-coroutines-core",
        **{f'project("{name}")': artifact for name, artifact in modules.items()},
    }
    # the plugin of Kotlin adds its library
    apis = re.findall(r"^    api\(((?:project\(.*?\)|[\w.]+))\)", build, re.MULTILINE)
    assert needed == {known[api] for api in apis} | {"kotlin-stdlib"}


@pytest.fixture(scope="module")
def stand_ins(android, tmp_path_factory) -> Path:
    """A repository with stand-ins for ExecuTorch's AAR, which not every mirror serves."""
    root = tmp_path_factory.mktemp("stand-ins")
    (needed,) = (x for x in LIBRARIES["hydraopt"].dependencies if x.kind == "aar")
    aar.write_zip(root / "classes.jar", aar.files(android.built.stand_ins, ["*.class"]))
    aar.write_zip(root / "x.aar", [("classes.jar", (root / "classes.jar").read_bytes())])
    (root / "pom.xml").write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        f"<groupId>{needed.group}</groupId><artifactId>{needed.artifact}</artifactId>"
        f"<version>{needed.version}</version><packaging>aar</packaging>"
        f"<dependencies>{dependency('androidx.core', 'core-ktx', '1.13.1', 'aar')}</dependencies>"
        "</project>"
    )
    aar.deploy(root / "x.aar", root / "pom.xml", root / "repository")
    return root / "repository"


def test_an_app_compiles_against_them_and_runs(repository, stand_ins, bundle, tmp_path):
    wanted = dependency("io.hydraopt", "hydraopt-coroutines", aar.VERSION, "aar")
    found = resolved(tmp_path / "consumer", [repository, stand_ins], wanted)
    assert [path.name for path in found if path.suffix == ".aar"] == [
        f"executorch-android-{aar.levels()['executorch']}.aar",  # and nothing of AndroidX
        f"hydraopt-{aar.VERSION}.aar",
        f"hydraopt-coroutines-{aar.VERSION}.aar",
    ]
    jars = [unpacked(path, tmp_path) if path.suffix == ".aar" else path for path in found]
    (tmp_path / "App.kt").write_text(APP)
    app = compiled(tmp_path / "App.kt", jars, tmp_path / "app", "-Werror")
    tasks, ids = jvm("-cp", joined([app, *jars]), "AppKt", str(bundle), "Grüße").splitlines()
    assert tasks == f"[{', '.join(Manifest.read(bundle).tasks)}]"
    assert json.loads(ids) == Session.open(bundle).encode("Grüße")


def unpacked(archive: Path, directory: Path) -> Path:
    jar = directory / f"{archive.stem}.jar"
    jar.write_bytes(contents(archive)["classes.jar"])
    return jar
