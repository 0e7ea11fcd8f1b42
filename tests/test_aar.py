"""The library's AARs, made without Gradle: what is in them, and an app that takes them."""

import json
import re
import subprocess
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import aar
import pytest
from android_host import DEMO, java_home
from apk import maven

from hydraopt.formats.manifest import Manifest
from hydraopt.runtime import Session

pytestmark = pytest.mark.android

SPACE = {"": "http://maven.apache.org/POM/4.0.0"}
DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
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


def resolved(directory: Path, repositories: list[Path], dependencies: str) -> list[Path]:
    """JARs and AARs that a project with these dependencies gets from Maven.

    What Maven found earlier is a repository, too, so that it need not remember these libraries.
    """
    places = enumerate([*repositories, Path.home() / ".m2" / "repository"])
    entries = [f"<id>r{index}</id><url>{place.as_uri()}</url>" for index, place in places]
    listed = "".join(f"<repository>{entry}</repository>" for entry in entries)
    plugins = f"<pluginRepository>{entries[-1]}</pluginRepository>"
    directory.mkdir()
    (directory / "pom.xml").write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>app</groupId><artifactId>app</artifactId><version>1</version>"
        f"<packaging>pom</packaging><repositories>{listed}</repositories>"
        f"<pluginRepositories>{plugins}</pluginRepositories>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )
    found = directory / "found"
    options = [f"-Dmaven.repo.local={directory / 'local'}", f"-DoutputDirectory={found}"]
    maven("-f", str(directory), *options, DEPENDENCIES, purpose="resolve the app's dependencies")
    return sorted(found.iterdir())


def dependency(group: str, artifact: str, version: str, kind: str = "jar") -> str:
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
        f"<version>{version}</version><type>{kind}</type></dependency>"
    )


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
    kotlin = dependency(
        "org.jetbrains.kotlin", "kotlin-compiler-embeddable", aar.levels()["kotlin"]
    )
    compiler = resolved(tmp_path / "compiler", [], kotlin)
    (tmp_path / "App.kt").write_text(APP)
    flags = ("-no-stdlib", "-no-reflect", "-Werror", "-d", str(tmp_path / "app"))
    jvm(
        *("-cp", joined(compiler), "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", *flags),
        *("-cp", joined(jars), str(tmp_path / "App.kt")),
    )
    tasks, ids = jvm(
        *("-cp", joined([tmp_path / "app", *jars]), "AppKt", str(bundle), "Grüße")
    ).splitlines()
    assert tasks == f"[{', '.join(Manifest.read(bundle).tasks)}]"
    assert json.loads(ids) == Session.open(bundle).encode("Grüße")


def unpacked(archive: Path, directory: Path) -> Path:
    jar = directory / f"{archive.stem}.jar"
    jar.write_bytes(contents(archive)["classes.jar"])
    return jar


def joined(paths: list[Path]) -> str:
    return ":".join(map(str, paths))


def jvm(*arguments: str) -> str:
    """What a program prints."""
    command = [str(java_home() / "bin" / "java"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert not done.returncode, done.stderr
    return done.stdout
