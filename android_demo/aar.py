"""Builds the AARs of library and coroutines without Gradle, in a Maven repository.

    python android_demo/aar.py [-o DIRECTORY]

Maven compiles the sources; each AAR comes with its sources and a POM. Gradle makes the same of the
modules' build files: ``gradle publishReleasePublicationToMavenLocal``.
"""

import argparse
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from xml.sax.saxutils import escape

from apk import DEMO, HOST, levels, maven

from hydraopt.errors import HydraOptError
from hydraopt.profiling.process import require_programs

GROUP, VERSION = "io.hydraopt", version("hydraopt")
LICENSE = ("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0")
PROGRAMS = {"mvn": "maven", "javac": "default-jdk-headless"}
DEPLOY = "org.apache.maven.plugins:maven-deploy-plugin:3.1.4:deploy-file"


@dataclass(frozen=True)
class Dependency:
    """What an app that uses a library gets with it.

    Attributes:
        group: its Maven group.
        artifact: its name there.
        version: as Maven writes it.
        kind: ``jar`` or ``aar``.
        without: a group of which nothing is needed.
    """

    group: str
    artifact: str
    version: str
    kind: str = "jar"
    without: str = ""


@dataclass(frozen=True)
class Library:
    """A module that is published.

    Attributes:
        module: its directory.
        artifact: its name in a Maven repository.
        namespace: the package of its manifest.
        description: a line for its POM.
        dependencies: what it needs.
    """

    module: str
    artifact: str
    namespace: str
    description: str
    dependencies: tuple[Dependency, ...]

    @property
    def classes(self) -> Path:
        """The directory of its class files, once Maven has compiled them."""
        return HOST / self.module / "target" / "classes"


def libraries() -> tuple[Library, ...]:
    """The modules that are published."""
    versions = levels()
    kotlin = Dependency("org.jetbrains.kotlin", "kotlin-stdlib", versions["kotlin"])
    executorch = Dependency(
        "org.pytorch", "executorch-android", versions["executorch"], "aar", without="androidx.core"
    )
    coroutines = Dependency(
        "org.jetbrains.kotlinx", "kotlinx-coroutines-core", versions["coroutines"]
    )
    hydraopt = Dependency(GROUP, "hydraopt", VERSION, "aar")
    return (
        Library(
            "hydraopt",
            "hydraopt",
            "io.hydraopt",
            "Many LoRA adapters, one on-device model",
            (executorch, kotlin),
        ),
        Library(
            "coroutines",
            "hydraopt-coroutines",
            "io.hydraopt.coroutines",
            "hydraopt for coroutines: suspending functions and flows",
            (hydraopt, coroutines, kotlin),
        ),
    )


def compile_libraries() -> None:
    """Compile the libraries. Raises ``ProfilingError`` as :func:`apk.maven`."""
    modules = ",".join(library.module for library in libraries())
    maven("-f", str(HOST), "-pl", modules, "-am", "compile", purpose="compile the library")


def publish(library: Library, repository: Path) -> None:
    """Put a compiled library into a Maven repository.

    Args:
        library: one of :func:`libraries`.
        repository: the repository's directory, made if there is none.

    Raises:
        ProfilingError: as :func:`apk.maven`.
    """
    with tempfile.TemporaryDirectory(prefix="hydraopt-") as name:
        scratch = Path(name)
        aar, sources = scratch / "library.aar", scratch / "sources.jar"
        write_aar(library, aar)
        source = DEMO / library.module / "src" / "main" / "kotlin"
        write_zip(sources, files(source, ["*.kt"]))
        (scratch / "pom.xml").write_text(pom(library), encoding="utf-8")
        deploy(aar, scratch / "pom.xml", repository, f"-Dsources={sources}")


def deploy(file: Path, description: Path, repository: Path, *options: str) -> None:
    """Put a file and its POM into a Maven repository, as Maven does. Raises as :func:`publish`."""
    given = [f"-Dfile={file}", f"-DpomFile={description}", "-DrepositoryId=local", *options]
    maven(DEPLOY, *given, f"-Durl={repository.resolve().as_uri()}", purpose=f"publish {file.name}")


def write_aar(library: Library, path: Path) -> None:
    """Write a library's AAR, without resources, as the library has none."""
    classes = path.with_suffix(".jar")
    write_zip(classes, files(library.classes, ["*.class", "*.kotlin_module"]))
    entries = {
        "AndroidManifest.xml": (
            '<manifest xmlns:android="http://schemas.android.com/apk/res/android" '
            f'package="{library.namespace}">\n'
            f'    <uses-sdk android:minSdkVersion="{levels()["minSdk"]}" />\n</manifest>\n'
        ).encode(),
        "R.txt": b"",
        "classes.jar": classes.read_bytes(),
    }
    rules = DEMO / library.module / "consumer-rules.pro"
    if rules.exists():
        entries["proguard.txt"] = rules.read_bytes()
    write_zip(path, entries.items())


def files(root: Path, patterns: Iterable[str]) -> list[tuple[str, bytes]]:
    """Paths below ``root`` and contents of the files whose names match."""
    found = sorted(path for pattern in patterns for path in root.rglob(pattern))
    return [(path.relative_to(root).as_posix(), path.read_bytes()) for path in found]


def write_zip(path: Path, entries: Iterable[tuple[str, bytes]]) -> None:
    """Write an archive that is the same for the same content."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def pom(library: Library) -> str:
    """A library's description for Maven and Gradle."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>{GROUP}</groupId>
  <artifactId>{library.artifact}</artifactId>
  <version>{VERSION}</version>
  <packaging>aar</packaging>
  <name>{library.artifact}</name>
  <description>{escape(library.description)}</description>
  <licenses>
    <license>
      <name>{LICENSE[0]}</name>
      <url>{LICENSE[1]}</url>
    </license>
  </licenses>
  <dependencies>
{"".join(map(_dependency, library.dependencies))}  </dependencies>
</project>
"""


def _dependency(needed: Dependency) -> str:
    excluded = f"""
      <exclusions>
        <exclusion>
          <groupId>{needed.without}</groupId>
          <artifactId>*</artifactId>
        </exclusion>
      </exclusions>"""
    return f"""    <dependency>
      <groupId>{needed.group}</groupId>
      <artifactId>{needed.artifact}</artifactId>
      <version>{needed.version}</version>
      <type>{needed.kind}</type>
      <scope>compile</scope>{excluded if needed.without else ""}
    </dependency>
"""


def main() -> None:
    """Build and say how an app takes them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("build/maven"), help="repository")
    repository = parser.parse_args().output.resolve()
    require_programs(PROGRAMS, "the library")
    compile_libraries()
    for library in libraries():
        publish(library, repository)
        print(f"{GROUP}:{library.artifact}:{VERSION}")
    print(f'in Gradle: maven {{ url = uri("{repository}") }}')


if __name__ == "__main__":
    try:
        main()
    except HydraOptError as error:
        sys.exit(f"error: {error}")
