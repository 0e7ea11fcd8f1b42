"""Builds the app without Gradle and without an Android SDK.

    python android_demo/apk.py [--aar FILE] [-o DIRECTORY]

Maven compiles the sources, then D8, aapt2's resources, a key of its own and apksigner make the APK.
Without ``--aar`` ExecuTorch's AAR comes from Maven Central; where that does not serve it, the
stand-ins for its classes go in, and the APK is called a check: it cannot run a model.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydraopt.errors import HydraOptError, ProfilingError
from hydraopt.files import replaced_file
from hydraopt.profiling.process import call, require_programs

DEMO = Path(__file__).resolve().parent
HOST = DEMO / "host"
APK, CHECK = "hydraopt-demo.apk", "hydraopt-demo-check.apk"
ABIS = ("arm64-v8a", "x86_64")
PAGE = 16384  # the largest of Android's: libraries are mapped from the APK
ALIGNMENT = 0xD935  # the extra field of an entry that apksigner keeps aligned
PROGRAMS = {
    "mvn": "maven",
    "javac": "default-jdk-headless",
    "aapt2": "aapt",
    "zipalign": "zipalign",
    "apksigner": "apksigner",
}
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
PASSWORD = "android"


def build(built: "Built", directory: Path, aar: Path | None) -> Path:
    """Make the APK of what Maven built.

    Args:
        built: of :func:`compile_sources`.
        directory: gets the APK and the key that it is signed with, made the first time.
        aar: ExecuTorch's for Android; None for the stand-ins.

    Returns:
        the APK's path.

    Raises:
        ProfilingError: a program is missing or failed, or ``aar`` is none.
        OutputError: it cannot be written.
    """
    if aar:
        check_aar(aar)
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / (APK if aar else CHECK)
    with tempfile.TemporaryDirectory(prefix="hydraopt-") as name, replaced_file(target) as signed:
        scratch = Path(name)
        jars = [*built.jars(aar, scratch), *unpacked_classes(built.fbjni, scratch)]
        call(d8(built, jars, scratch), "compile to DEX", timeout=600)
        unsigned = scratch / "unsigned.apk"
        write_apk(unsigned, built.resources, scratch, [*([aar] if aar else []), built.fbjni])
        sign(unsigned, signed, directory / "debug.keystore")
        call(["zipalign", "-c", "-p", "4", str(signed)], "find all entries aligned")
    return target


class Built:
    """What Maven built and downloaded.

    Attributes:
        classes: directories of class files of app and library.
        stand_ins: the directory of those for the AAR.
        libraries: JARs that the app needs.
        android: Android's classes.
        r8: the JAR that holds D8 and R8.
        fbjni: the AAR of what ExecuTorch's native library needs.
        resources: the APK with resources and manifest alone.
    """

    def __init__(self):
        app, hydraopt, api = (HOST / x / "target" for x in ("app", "hydraopt", "executorch-api"))
        self.classes = [app / "classes", hydraopt / "classes"]
        self.stand_ins = api / "classes"
        paths = [Path(x) for x in (app / "classpath").read_text().strip().split(":")]
        wanted = ("kotlin-stdlib", "nativeloader")
        self.libraries = [path for path in paths if path.name.startswith(wanted)]
        (self.android,) = (path for path in paths if path.name.startswith("android-all-"))
        (self.r8,) = (app / "tools").glob("r8-*.jar")
        (self.fbjni,) = (app / "tools").glob("fbjni-*.aar")
        self.resources = app / "resources" / "linked.apk"

    def jars(self, aar: Path | None, scratch: Path) -> list[Path]:
        """JARs of all that goes in, the stand-ins in place of a missing AAR."""
        own = scratch / "own.jar"
        roots = [*self.classes, *([] if aar else [self.stand_ins])]
        with zipfile.ZipFile(own, "w") as archive:
            for root in roots:
                for path in sorted(root.rglob("*.class")):
                    archive.write(path, path.relative_to(root).as_posix())
        return [own, *self.libraries, *(unpacked_classes(aar, scratch) if aar else [])]


def compile_sources(*goals: str) -> Built:
    """Class files and resources of app and library.

    Args:
        goals: Maven's, with options; ``compile`` is enough.

    Raises:
        ProfilingError: a source does not compile, or something cannot be downloaded.
    """
    maven("-f", str(HOST), "-Papk", *goals, purpose="compile the app")
    return Built()


def maven(*arguments: str, purpose: str) -> None:
    """Run Maven. Raises ``ProfilingError`` with the first line in which it says why it failed."""
    command = ["mvn", "-q", "-B", "-ntp", "-Dstyle.color=never", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    if result.returncode:
        told = re.findall(r"\[ERROR\] (.*\S)", result.stdout)
        raise ProfilingError(f"mvn cannot {purpose}: {[*told, result.stdout[-200:]][0]}")


def check_aar(path: Path) -> None:
    """Raise ``ProfilingError`` unless a file is an AAR with ExecuTorch's library for all ABIs."""
    if not path.is_file():
        raise ProfilingError(f"{path} is missing; pass ExecuTorch's AAR for Android")
    names = set(zipfile.ZipFile(path).namelist()) if zipfile.is_zipfile(path) else set()
    wanted = ["classes.jar", *(f"jni/{abi}/libexecutorch.so" for abi in ABIS)]
    if missing := [name for name in wanted if name not in names]:
        raise ProfilingError(
            f"{path} has no {missing[0]}, expected ExecuTorch's AAR for Android; pass the file "
            "executorch-android-VERSION.aar of Maven Central"
        )


def unpacked_classes(aar: Path, scratch: Path) -> list[Path]:
    """The JAR of an AAR's classes."""
    target = scratch / f"{aar.stem}.jar"
    with zipfile.ZipFile(aar) as archive:
        target.write_bytes(archive.read("classes.jar"))
    return [target]


def levels() -> dict[str, str]:
    """Versions and Android levels, which the Gradle project names."""
    return tomllib.loads((DEMO / "gradle" / "libs.versions.toml").read_text())["versions"]


def d8(built: Built, jars: Iterable[Path], target: Path) -> list[str]:
    """The command that makes ``classes.dex`` of JARs."""
    # it ends before the JVM's second compiler would pay
    command = [
        "java",
        "-Xmx2g",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        str(built.r8),
        "com.android.tools.r8.D8",
        "--release",
    ]
    command += ["--min-api", levels()["minSdk"], "--lib", str(built.android)]
    return [*command, "--output", str(target), *map(str, jars)]


def write_apk(target: Path, resources: Path, dex: Path, aars: Sequence[Path]) -> None:
    """Put resources, ``classes*.dex`` of a directory and the AARs' libraries together."""
    with zipfile.ZipFile(target, "w") as apk:
        with zipfile.ZipFile(resources) as archive:
            for entry in archive.infolist():
                add(apk, entry.filename, archive.read(entry), entry.compress_type)
        for path in sorted(dex.glob("classes*.dex")):
            add(apk, path.name, path.read_bytes(), zipfile.ZIP_DEFLATED)
        for aar in aars:
            with zipfile.ZipFile(aar) as archive:
                for name in archive.namelist():
                    if found := re.fullmatch(rf"jni/(({'|'.join(ABIS)})/[^/]+\.so)", name):
                        add(apk, f"lib/{found[1]}", archive.read(name), zipfile.ZIP_STORED)


def add(apk: zipfile.ZipFile, name: str, content: bytes, compression: int) -> None:
    """Add an entry; one that is stored as it is can be mapped."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = compression
    if compression == zipfile.ZIP_STORED:
        multiple = PAGE if name.endswith(".so") else 4
        field = 3 * 2  # id, length, multiple; then padding
        start = apk.fp.tell() + 30 + len(name.encode()) + field
        padding = -start % multiple
        numbers = (ALIGNMENT, 2 + padding, multiple)
        entry.extra = b"".join(x.to_bytes(2, "little") for x in numbers) + bytes(padding)
    apk.writestr(entry, content)


def sign(unsigned: Path, target: Path, keystore: Path) -> None:
    """Sign an APK with a debug key, which is made if there is none."""
    if not keystore.exists():
        with replaced_file(keystore) as staging:
            command = ["keytool", "-genkeypair", "-keystore", str(staging), "-alias", "debug"]
            command += ["-storepass", PASSWORD, "-keypass", PASSWORD, "-dname", "CN=debug"]
            command += ["-keyalg", "RSA", "-keysize", "2048", "-validity", "10000"]
            call(command, "make a debug key")
    command = ["apksigner", "sign", "--ks", str(keystore), "--ks-pass", f"pass:{PASSWORD}"]
    command += ["--v4-signing-enabled", "false"]  # a file of its own
    call([*command, "--out", str(target), str(unsigned)], "sign the APK")


def from_maven_central(directory: Path) -> Path | None:
    """ExecuTorch's AAR; None where it is not served."""
    version = levels()["executorch"]
    artifact = f"org.pytorch:executorch-android:{version}:aar"
    options = [f"-Dartifact={artifact}", f"-DoutputDirectory={directory}"]
    try:
        maven(f"{PLUGIN}:copy", *options, purpose=f"download {artifact}")
    except ProfilingError as error:
        print(f"ExecuTorch's AAR cannot be had: {error}", file=sys.stderr)
        return None
    return directory / f"executorch-android-{version}.aar"


def main() -> None:
    """Build and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--aar", type=Path, help="ExecuTorch's AAR; by default Maven Central's")
    parser.add_argument("-o", "--output", type=Path, default=Path("build"), help="directory")
    options = parser.parse_args()
    require_programs(PROGRAMS, "an APK")
    aar = options.aar or from_maven_central(options.output.resolve())
    if aar:
        check_aar(aar)
    apk = build(compile_sources("compile"), options.output, aar)
    print(f"{apk}: adb install -r {apk}" if aar else f"{apk}: {CHECK_ONLY}")


CHECK_ONLY = (
    "a check of the build with stand-ins for ExecuTorch's classes and no library of it: it "
    "installs, but runs no model; pass the AAR: make apk AAR=FILE"
)

if __name__ == "__main__":
    try:
        main()
    except HydraOptError as error:
        sys.exit(f"error: {error}")
