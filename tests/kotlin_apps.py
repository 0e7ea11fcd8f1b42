"""Apps in Kotlin: what they take from Maven, compiled by Kotlin's compiler, run on the JVM."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from android_host import java_home
from apk import levels, maven

DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


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


def compiled(source: Path, libraries: Sequence[Path], target: Path, *flags: str) -> Path:
    """Class files of a source, in a directory."""
    kotlin = dependency("org.jetbrains.kotlin", "kotlin-compiler-embeddable", levels()["kotlin"])
    with tempfile.TemporaryDirectory() as name:
        compiler = joined(resolved(Path(name) / "compiler", [], kotlin))
        jvm(
            *("-cp", compiler, "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", "-no-stdlib"),
            *("-no-reflect", *flags, "-d", str(target), "-cp", joined(libraries), str(source)),
        )
    return target


def joined(paths: Sequence[Path]) -> str:
    """A class path."""
    return ":".join(map(str, paths))


def jvm(*arguments: str) -> str:
    """What a program prints."""
    command = [str(java_home() / "bin" / "java"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert not done.returncode, done.stderr
    return done.stdout
