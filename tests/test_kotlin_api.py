"""The pages of the Kotlin library's public API, which Dokka makes of its comments."""

import re
from pathlib import Path

import pytest
from android_host import DEMO, HOST, downloading
from apk import maven
from devices import require_packages

from hydraopt.errors import ProfilingError

pytestmark = [pytest.mark.android, pytest.mark.slow]

PROGRAMS = {"mvn": "maven", "javac": "default-jdk-headless"}
SOURCES = ("hydraopt", "coroutines")
UNDOCUMENTED = """
package io.hydraopt.tried

/** Has a comment, unlike its function. */
class Tried {
    fun silent() = 1
}
"""


def pages(target: Path, *options: str) -> Path:
    require_packages(PROGRAMS, "the pages of the Kotlin library's API")
    given = [f"-Dtarget={target}", *options]
    with downloading():
        maven("-f", str(HOST / "api"), *given, "compile", purpose="write the API's pages")
    return target


def public_classes() -> set[str]:
    """Names of the public classes and interfaces on the top level of a file."""
    pattern = r"^(?:(?:sealed|data|enum|open|abstract|fun) )*(?:class|interface) (\w+)"
    files = (path for name in SOURCES for path in (DEMO / name / "src").rglob("*.kt"))
    return {name for path in files for name in re.findall(pattern, path.read_text(), re.MULTILINE)}


def test_every_public_declaration_has_a_comment_and_a_page(tmp_path):
    root = pages(tmp_path / "dokka") / "hydraopt"
    names = {
        re.sub(r"-(\w)", lambda letter: letter[1].upper(), path.parent.name)
        for package in ("io.hydraopt", "io.hydraopt.coroutines")
        for path in (root / package).glob("*/index.html")
    }
    assert {"TaskSession", "TaskBundle", "CoroutineSession"} < public_classes() == names
    assert not (root / "org.pytorch.executorch").exists()


def test_a_declaration_without_a_comment_is_an_error(tmp_path):
    source = tmp_path / "hydraopt" / "src" / "main" / "kotlin" / "Tried.kt"
    source.parent.mkdir(parents=True)
    source.write_text(UNDOCUMENTED)
    with pytest.raises(ProfilingError, match="Failed with warningCount=1"):
        pages(tmp_path / "dokka", f"-Dsources={tmp_path}")
