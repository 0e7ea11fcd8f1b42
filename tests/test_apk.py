"""The app's APK, made without Gradle: signed, aligned, with all classes and libraries it needs."""

import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from android_host import DEMO, HOST
from devices import require_packages
from run_rules import MachineLacksError

from hydraopt.errors import ProfilingError

sys.path.insert(0, str(DEMO))
import apk

pytestmark = pytest.mark.android

OUTPUT = "target-apk"  # Maven's, apart from that of tests that may run at the same time
NAMES = ("applicationId", "versionCode", "versionName")
ACTIVITIES = ("MainActivity", "benchmark/BenchmarkActivity")
# an ELF file of 64 bits for AArch64, without anything in it
DUMMY = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 183, 1, *[0] * 10)


@pytest.fixture(scope="module")
def built():
    require_packages(apk.PROGRAMS | {"dexdump": "dexdump", "aapt": "aapt"}, "the APK")
    if not Path("/usr/share/android-framework-res/framework-res.apk").exists():
        raise MachineLacksError("the APK needs the Debian package android-framework-res")
    try:
        return apk.compile_sources(OUTPUT)
    except ProfilingError as error:
        if re.search("Could not transfer artifact|Unknown host", str(error)):
            raise MachineLacksError("Maven Central cannot be reached") from None
        raise


def write_aar(path: Path, built, abis=apk.ABIS) -> Path:
    """An AAR with the stand-ins' classes and libraries without content."""
    with zipfile.ZipFile(path.with_suffix(".jar"), "w") as jar:
        for source in built.stand_ins.rglob("*.class"):
            jar.write(source, source.relative_to(built.stand_ins))
    with zipfile.ZipFile(path, "w") as aar:
        aar.write(path.with_suffix(".jar"), "classes.jar")
        for abi in (*abis, "armeabi-v7a"):
            aar.writestr(f"jni/{abi}/libexecutorch.so", DUMMY)
    return path


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("apk")


@pytest.fixture(scope="module")
def app(built, directory) -> Path:
    """The app, with an AAR."""
    return apk.build(built, directory, write_aar(directory / "executorch-android.aar", built))


@pytest.fixture(scope="module")
def classes(app, directory) -> dict[str, str]:
    """What dexdump says of every class, by descriptor."""
    with zipfile.ZipFile(app) as archive:
        assert [x for x in archive.namelist() if x.endswith(".dex")] == ["classes.dex"]
        archive.extract("classes.dex", directory)
    command = ["dexdump", "-d", directory / "classes.dex"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    parts = re.split(r"^Class #\d+ +-$", text, flags=re.MULTILINE)[1:]
    return {re.search(r"Class descriptor +: '(.+)'", part)[1]: part for part in parts}


def output(*command) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_it_is_signed(app):
    text = output("apksigner", "verify", "--verbose", app)
    assert text.startswith("Verifies\n")
    for scheme in ("v2", "v3"):
        assert re.search(rf"Verified using {scheme} scheme .*: true", text)
    assert app.name == "hydraopt-demo.apk"


def test_its_manifest_is_that_of_the_gradle_project(app):
    text = output("aapt", "dump", "badging", app)
    levels, module = apk.levels(), (DEMO / "app" / "build.gradle.kts").read_text()
    named = {name: re.search(rf"\b{name} = \"?([^\s\"]+)", module)[1] for name in NAMES}
    assert text.startswith(
        f"package: name='{named['applicationId']}' versionCode='{named['versionCode']}' "
        f"versionName='{named['versionName']}'"
    )
    assert f"sdkVersion:'{levels['minSdk']}'\n" in text
    assert f"targetSdkVersion:'{levels['targetSdk']}'\n" in text
    assert "launchable-activity: name='io.hydraopt.demo.MainActivity'" in text
    assert "application-debuggable" in text  # for adb's run-as
    assert "native-code: 'arm64-v8a' 'x86_64'\n" in text
    assert "uses-permission" not in text


def test_shell_may_start_the_benchmark(app):
    text = output("aapt", "dump", "xmltree", app, "AndroidManifest.xml")
    entry = text.partition("io.hydraopt.demo.benchmark.BenchmarkActivity")[0].rpartition("E: ")
    assert entry[2].startswith("activity")
    assert re.search(r"BenchmarkActivity\".*\n\s+A: android:exported\(.*\)=.*0xffffffff", text)
    assert re.search(r"android:extractNativeLibs\(.*\)=\(type 0x12\)0x0\n", text)


def test_its_libraries_can_be_mapped_with_pages_of_16_kilobytes(app):
    libraries = {}
    with zipfile.ZipFile(app) as archive, app.open("rb") as file:
        for entry in archive.infolist():
            file.seek(entry.header_offset + 26)
            lengths = struct.unpack("<HH", file.read(4))
            if entry.filename.endswith(".so"):
                assert entry.compress_type == zipfile.ZIP_STORED
                libraries[entry.filename] = entry.header_offset + 30 + sum(lengths)
    names = ("executorch", "fbjni", "c++_shared")
    assert set(libraries) == {f"lib/{abi}/lib{name}.so" for abi in apk.ABIS for name in names}
    assert all(start % 16384 == 0 for start in libraries.values()), libraries
    assert "Verification suc" in output("zipalign", "-c", "-v", "-p", "4", app)


def test_every_class_is_in_it(classes, built):
    for root in (*built.classes, built.stand_ins):
        for path in root.rglob("*.class"):
            name = path.relative_to(root).with_suffix("").as_posix()
            assert f"L{name};" in classes
    for activity in ACTIVITIES:
        assert f"Lio/hydraopt/demo/{activity};" in classes
    for name in ("com/facebook/jni/HybridData", "com/facebook/soloader/nativeloader/NativeLoader"):
        assert f"L{name};" in classes
    assert not [name for name in classes if re.match("L(org/robolectric|androidx|org/junit)", name)]


def test_without_an_aar_it_is_called_a_check(built, directory, app):
    check = apk.build(built, directory, None)
    assert check.name == "hydraopt-demo-check.apk"
    with zipfile.ZipFile(check) as archive, zipfile.ZipFile(app) as whole:
        missing = set(whole.namelist()) - set(archive.namelist())
        assert missing == {f"lib/{abi}/libexecutorch.so" for abi in apk.ABIS}
        assert archive.read("classes.dex") == whole.read("classes.dex")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path, built: path.write_text("no zip"), "has no classes.jar, expected Execu"),
        (lambda path, built: write_aar(path, built, ("x86_64",)), "no jni/arm64-v8a/libexecutorch"),
        (lambda path, built: None, "is missing; pass ExecuTorch's AAR"),
    ],
)
def test_what_is_no_aar_is_refused(built, tmp_path, make, message):
    make(tmp_path / "x.aar", built)
    with pytest.raises(ProfilingError, match=message):
        apk.build(built, tmp_path / "out", tmp_path / "x.aar")
    assert not (tmp_path / "out").exists()


def test_only_maven_central_and_debian_are_needed():
    poms = "".join(path.read_text() for path in HOST.rglob("pom.xml") if "target" not in str(path))
    assert "<repository>" not in poms
