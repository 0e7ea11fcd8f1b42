"""The Gradle project names the versions and folders of the Maven build, which is what is tested."""

import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "android_demo"
CATALOG = DEMO / "gradle" / "libs.versions.toml"
README = DEMO / "README.md"
SPACE = {"": "http://maven.apache.org/POM/4.0.0"}
OF_GRADLE = {"min.sdk": "minSdk", "target.sdk": "targetSdk", "version.name": "versionName"}
MODULES = ("hydraopt", "coroutines", "app")


def versions() -> dict[str, str]:
    return tomllib.loads(CATALOG.read_text())["versions"]


def gradle(module: str) -> str:
    return (DEMO / module / "build.gradle.kts").read_text()


def pom(*module: str) -> ElementTree.Element:
    return ElementTree.parse(DEMO.joinpath("host", *module, "pom.xml")).getroot()


def test_the_aar_has_the_version_of_the_python_pin():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = " ".join(project["optional-dependencies"]["executorch"])
    assert re.search(r"executorch==(\S+)", pins)[1] == versions()["executorch"]


def test_no_other_file_names_that_version():
    version = versions()["executorch"]
    sources = (path for path in DEMO.rglob("*") if path.is_file())
    named = [
        path
        for path in sources
        if not {"target", "build"} & {*path.parts}
        and path.suffix in {".kt", ".kts", ".xml", ".toml", ".md", ".txt", ".cpp", ".py"}
        and version in path.read_text(encoding="utf-8")
    ]
    assert named == [CATALOG]


def test_both_builds_compile_with_the_same_kotlin():
    for name in ("kotlin", "coroutines"):
        assert pom().find(f".//properties/{name}.version", SPACE).text == versions()[name]
    plugins = tomllib.loads(CATALOG.read_text())["plugins"]
    assert plugins["kotlin-android"]["version"] == {"ref": "kotlin"}
    assert pom().find(".//jvmTarget", SPACE).text == "1.8"
    for module in MODULES:
        assert re.findall(r"= JvmTarget\.(\w+)", gradle(module)) == ["JVM_1_8"]


@pytest.mark.parametrize("module", MODULES)
def test_both_builds_compile_the_same_sources(module):
    build = pom(module)
    folder = build.find(".//execution[id='compile']//sourceDir", SPACE)
    if folder is None:
        folder = build.find("./build/sourceDirectory", SPACE)
    main = build.findtext("./properties/main", "", SPACE).removeprefix("${project.basedir}/")
    sources = (DEMO / "host" / module / folder.text.replace("${main}", main)).resolve()
    assert sources == DEMO / module / "src" / "main" / "kotlin"  # where Gradle looks by itself
    assert "sourceSets" not in gradle(module)
    assert {path.name for path in (DEMO / module / "src").iterdir()} == {"main"}


@pytest.mark.parametrize("module", MODULES)
def test_gradle_takes_the_levels_of_android_from_the_catalog(module):
    levels = {"compileSdk", "minSdk"} | ({"targetSdk"} if module == "app" else set())
    assigned = dict(re.findall(r"(\w+Sdk) = (\S+)", gradle(module)))
    assert assigned == {name: f"libs.versions.{name}.get().toInt()" for name in levels}


def test_the_app_is_tested_on_the_level_that_it_targets():
    tests = "".join(path.read_text() for path in (DEMO / "host" / "app").rglob("*Test.kt"))
    tested = re.findall(r"@Config\(sdk = \[(\d+)\]", tests)
    assert {*tested} == {versions()["targetSdk"], versions()["compileSdk"]}
    release = pom().find("./properties/android.all", SPACE).text.partition("-")[0]
    assert int(release) + 20 == int(versions()["compileSdk"])


def test_nothing_asks_for_what_android_16_ignores():
    """Bars without content behind them, back as a key, and fixed sizes on large screens."""
    ignored = "EdgeToEdgeEnforcement|[oO]nBack(Pressed|InvokedCallback)|KEYCODE_BACK"
    ignored += "|screenOrientation|requestedOrientation|resizeableActivity|AspectRatio"
    sources = [path for path in (DEMO / "app" / "src").rglob("*") if path.suffix in {".kt", ".xml"}]
    assert sources and not [x for x in sources if re.search(ignored, x.read_text())]


def test_the_manifest_leaves_to_both_builds_what_gradle_puts_in():
    properties = {name: pom("app").find(f"./properties/{name}", SPACE).text for name in OF_GRADLE}
    for name, value in properties.items():
        assert value in (versions().get(OF_GRADLE[name]), named("app", OF_GRADLE[name]))
    manifest = (DEMO / "app" / "src" / "main" / "AndroidManifest.xml").read_text()
    for attribute in ("package=", "uses-sdk", "versionCode", "versionName", "extractNativeLibs"):
        assert attribute not in manifest
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert named("app", "versionName") == project["version"]
    assert named("app", "namespace") == named("app", "applicationId")


def named(module: str, name: str) -> str | None:
    """The text that a Gradle module gives to a name."""
    found = re.search(rf'\b{name} = "(.*)"', gradle(module))
    return found and found[1]


def test_every_module_and_plugin_of_gradle_is_there():
    settings = (DEMO / "settings.gradle.kts").read_text()
    (included,) = re.findall(r"include\((.*)\)", settings)
    assert included == ", ".join(f'":{module}"' for module in MODULES)
    catalog = tomllib.loads(CATALOG.read_text())
    for text in map(gradle, MODULES):
        for group, name in re.findall(r"\blibs\.(plugins|)\.?((?!versions)[\w.]+)", text):
            assert name.replace(".", "-") in catalog[group or "libraries"]


def test_the_wrapper_is_pinned():
    text = (DEMO / "gradle" / "wrapper" / "gradle-wrapper.properties").read_text()
    properties = dict(line.split("=", 1) for line in text.splitlines())
    url = properties["distributionUrl"]
    assert re.fullmatch(
        r"https\\://services\.gradle\.org/distributions/gradle-8\.\S+-bin\.zip", url
    )
    assert re.fullmatch("[0-9a-f]{64}", properties["distributionSha256Sum"])
    pinned = re.search(r"gradle-(\d+)\.(\d+)", url).groups()
    least = set(re.findall(r"Gradle (\d+)\.(\d+) or later", README.read_text()))
    # of plugins 8.11 to 8.13, in Android's table of compatible versions
    assert least == {("8", "13")}
    assert tuple(map(int, pinned)) >= (8, 13)
    assert versions()["agp"].startswith("8.13.")


def needed(module: str) -> dict[str, set[str]]:
    """Names of the catalog that a module's build file takes, with the versions they refer to."""
    catalog, text = tomllib.loads(CATALOG.read_text()), gradle(module)
    names = {
        "versions": set(re.findall(r"\blibs\.versions\.(\w+)", text)),
        "plugins": {x.replace(".", "-") for x in re.findall(r"\blibs\.plugins\.([\w.]+)", text)},
        "libraries": set(re.findall(r"\(libs\.(\w+)\)", text)),
    }
    for table in ("plugins", "libraries"):
        names["versions"] |= {catalog[table][name]["version"]["ref"] for name in names[table]}
    return names


def test_the_readme_lists_what_the_modules_take_from_a_catalog():
    of_library, of_coroutines = map(needed, ("hydraopt", "coroutines"))
    for table, names in of_library.items():
        row = re.search(rf"^\| `\[{table}\]` \|(.*)\|(.*)\|$", README.read_text(), re.MULTILINE)
        listed = [set(re.findall(r"`([\w-]+)`", cell)) for cell in row.groups()]
        assert names and listed == [names, of_coroutines[table] - names]
