"""The app's APK, made without Gradle, and what its benchmark measured on a JVM."""

import json
import re
import struct
import zipfile
from pathlib import Path

import apk
import pytest
import torch
from android_host import DEMO, HOST
from devices import require_packages
from dex import PublicApi, android_references, read_classes, run
from typer.testing import CliRunner

from hydraopt.cli import app as cli
from hydraopt.errors import ProfilingError
from hydraopt.formats.manifest import Manifest
from hydraopt.profiling.facts import host_facts
from hydraopt.profiling.measure import bundle_record
from hydraopt.profiling.page import write_report
from hydraopt.profiling.results import Profile, statistics
from hydraopt.profiling.sizes import separate_bytes, sizes
from hydraopt.runtime import Session

pytestmark = pytest.mark.android

NAMES = ("applicationId", "versionCode", "versionName")
ACTIVITIES = {f"io/hydraopt/demo/{x}" for x in ("MainActivity", "benchmark/BenchmarkActivity")}
# public members that Android 4.1 (level 16) had not, and the level that brought them
NEWER = {
    "android/graphics/Bitmap$Config.HARDWARE": 26,
    "android/graphics/BitmapFactory$Options.inPreferredColorSpace": 26,
    "android/graphics/ColorSpace$Named.SRGB": 26,
    "android/graphics/ColorSpace.get": 26,
    "android/os/Build.SUPPORTED_ABIS": 21,
    "android/provider/DocumentsContract.buildChildDocumentsUriUsingTree": 21,
    "android/provider/DocumentsContract.buildDocumentUriUsingTree": 21,
    "android/provider/DocumentsContract.getDocumentId": 19,
    "android/provider/DocumentsContract.getTreeDocumentId": 21,
    "android/view/ViewGroup.getLayoutDirection": 17,
    "android/widget/TextView.setCompoundDrawablesRelativeWithIntrinsicBounds": 17,
}
# an ELF file of 64 bits for AArch64, without anything in it
DUMMY = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 183, 1, *[0] * 10)


@pytest.fixture(scope="module")
def built(android):
    """What Maven built, on a machine that can make an APK of it."""
    require_packages(apk.PROGRAMS | {"dexdump": "dexdump"}, "the APK")
    return android.built


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
    with zipfile.ZipFile(app) as archive:
        assert [x for x in archive.namelist() if x.endswith(".dex")] == ["classes.dex"]
        archive.extract("classes.dex", directory)
    return read_classes(directory / "classes.dex")


def test_it_is_signed(app):
    text = run("apksigner", "verify", "--verbose", app)
    assert text.startswith("Verifies\n")
    for scheme in ("v2", "v3"):
        assert re.search(rf"Verified using {scheme} scheme .*: true", text)
    assert app.name == "hydraopt-demo.apk"


def test_its_manifest_is_that_of_the_gradle_project(app):
    text = run("aapt", "dump", "badging", app)
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


def test_adbs_shell_alone_may_start_the_benchmark(app):
    """Other apps cannot hold the permission, which is the system's and the shell's."""
    text = run("aapt", "dump", "xmltree", app, "AndroidManifest.xml")
    (entry,) = (x for x in text.split("E: ") if "benchmark.BenchmarkActivity" in x)
    assert entry.startswith("activity")
    assert re.search(r"A: android:exported\(.*\)=.*0xffffffff", entry)
    assert re.search(r"A: android:permission\(.*\)=\"android.permission.DUMP\"", entry)
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
    assert "Verification suc" in run("zipalign", "-c", "-v", "-p", "4", app)


def test_every_class_is_in_it(classes, built):
    for root in (*built.classes, built.stand_ins):
        names = {
            path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.class")
        }
        assert names and names <= classes.keys()
    others = ("com/facebook/jni/HybridData", "com/facebook/soloader/nativeloader/NativeLoader")
    assert {*ACTIVITIES, *others} <= classes.keys()
    assert not [x for x in classes if re.match("android/|androidx/|org/robolectric/|org/junit", x)]


def test_only_public_api_of_android_is_used(classes, built):
    """Compiled against all of Android's classes, the app could use hidden ones."""
    references = android_references(classes, "io/hydraopt/")
    assert len(references) > 20
    (stubs,) = (built.r8.parent).glob("android-*.jar")
    unknown = PublicApi(stubs).missing(references) - NEWER.keys()
    assert not unknown, (
        "hidden, or to be looked up in Android's reference and listed with its level"
    )
    assert max(NEWER.values()) <= int(apk.levels()["minSdk"])


def test_without_an_aar_it_is_called_a_check(built, directory, app):
    check = apk.build(built, directory, None)
    assert check.name == "hydraopt-demo-check.apk"
    assert {x.name for x in directory.iterdir() if x.suffix not in {".aar", ".jar", ".dex"}} == {
        "debug.keystore",
        app.name,
        check.name,
    }
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
    poms = "".join(path.read_text() for path in HOST.glob("**/pom.xml"))
    assert "<repository>" not in poms


@pytest.fixture(scope="module")
def results(android) -> dict:
    """What the benchmark wrote on the plain JVM."""
    return json.loads((android.fixtures / "benchmark" / "results.json").read_text())


def test_its_results_have_the_profilers_fields(results, zoo_bundle):
    """And what can be known without a device is the same as the profiler's."""
    manifest = Manifest.read(zoo_bundle)
    known = sizes(zoo_bundle, manifest, {}, *separate_bytes(manifest, None))
    record = Profile(host_facts(), bundle_record(zoo_bundle, manifest), known, {}).record()
    assert set(results) == {*record, "run_id"}
    for name in ("format_version", "executorch", "status", "lost", "bundle", "sizes"):
        assert results[name] == record[name]
    assert set(results["device"]) == set(record["device"])
    settings = {"threads": [1, 2], "rounds": 2, "prompt": 64, "tokens": 4, "switches": 100}
    assert results["settings"].items() >= settings.items()


def test_its_measurements_are_the_profilers(results):
    rows = {(row["metric"], row["threads"]): row for row in results["measurements"]}
    assert len(rows) == len(results["measurements"])
    sequences = results["settings"]["sequences"]
    once = {"load_warm_ms", "first_inference_ms", "peak_bytes", "growth_bytes"}
    swaps = {"swap_map_ms", "swap_unpack_ms", "swap_ms", "first_token_ms"}
    counts = dict.fromkeys(once, 1) | dict.fromkeys(swaps, 100)
    counts |= {"prefill_ms": sequences, "decode_ms": 4 * sequences}
    assert set(rows) == {(metric, threads) for metric in counts for threads in (1, 2)}
    for (metric, _), row in rows.items():
        assert row["count"] == len(row["samples"]) == 2 * counts[metric]
        half = row["count"] // 2
        expected = statistics([row["samples"][:half], row["samples"][half:]])
        for name in ("median", "p5", "p95", "round_medians"):
            assert row[name] == pytest.approx(expected[name], abs=2e-6)
        assert metric == "growth_bytes" or row["p5"] > 0


def test_it_computes_what_python_computes(android, zoo_bundle):
    session, expected = Session.open(zoo_bundle), []
    for task in session.tasks:
        session.switch(task)
        expected += [session.forward(ids).clone() for ids in ([1, 2, 3], [4], [5])]
    content = bytearray((android.fixtures / "benchmark" / "logits").read_bytes())
    found = torch.frombuffer(content, dtype=torch.float32)
    torch.testing.assert_close(found, torch.cat(expected), atol=2e-3, rtol=0)


def test_reports_and_comparisons_take_its_results(android, results, tmp_path):
    write_report(results, tmp_path / "report")
    assert "this bundle" in (tmp_path / "report" / "report.md").read_text()
    for path in (android.fixtures / "activity.json", tmp_path / "report"):
        done = CliRunner().invoke(cli.app, ["compare", str(path), str(path)])
        assert done.exit_code == 0
        assert "0 regressions in " in done.stdout
