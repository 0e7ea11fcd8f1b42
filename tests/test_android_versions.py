"""The Android project's versions are those of the Python package and of the Maven build."""

import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
CATALOG = ROOT / "android_demo" / "gradle" / "libs.versions.toml"
POM = ROOT / "android_demo" / "host" / "pom.xml"


def test_the_aar_has_the_version_of_the_python_pin():
    versions = tomllib.loads(CATALOG.read_text())["versions"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = " ".join(project["optional-dependencies"]["executorch"])
    assert re.search(r"executorch==(\S+)", pins)[1] == versions["executorch"]


def test_no_other_file_names_that_version():
    version = tomllib.loads(CATALOG.read_text())["versions"]["executorch"]
    sources = (path for path in CATALOG.parents[1].rglob("*") if path.is_file())
    named = [
        path
        for path in sources
        if "target" not in path.parts
        and path.suffix in {".kt", ".kts", ".xml", ".toml", ".md", ".txt", ".cpp"}
        and version in path.read_text(encoding="utf-8")
    ]
    assert named == [CATALOG]


def test_maven_compiles_with_the_same_kotlin():
    versions = tomllib.loads(CATALOG.read_text())["versions"]
    space = {"": "http://maven.apache.org/POM/4.0.0"}
    found = ElementTree.parse(POM).find(".//properties/kotlin.version", space)
    assert found.text == versions["kotlin"]
