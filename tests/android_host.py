"""What the JVM tests of ``android_demo/host`` run on: native libraries."""

import hashlib
import re
import shutil
from collections.abc import Iterator, Set
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from run_rules import MachineLacksError

from hydraopt.errors import ProfilingError
from hydraopt.profiling import runner
from hydraopt.profiling.cache import cached
from hydraopt.profiling.process import call

DEMO = Path(__file__).resolve().parents[1] / "android_demo"
HOST = DEMO / "host"
SOURCES = (HOST / "jni" / "hydraopt_host.cpp", runner.KERNELS)
HEADERS = (HOST / "jni" / "jvm.h", *runner.HEADERS)
KILL_AT = HOST / "jni" / "kill_at.cpp"


@contextmanager
def downloading() -> Iterator[None]:
    """Skip the test if Maven cannot reach Maven Central."""
    try:
        yield
    except ProfilingError as error:
        if re.search("Could not transfer artifact|Unknown host", str(error)):
            raise MachineLacksError("Maven Central cannot be reached") from None
        raise


def java_home() -> Path:
    """The directory of the JDK whose compiler is on the PATH."""
    return Path(shutil.which("javac")).resolve().parents[1]


def host_library(java_home: Path) -> Path:
    """The native half of ExecuTorch's Java classes for this machine, built the first time."""
    package = Path(find_spec("executorch").submodule_search_locations[0])
    include = package / "include"
    flags = [x for x in runner.FLAGS if x != "-DET_EVENT_TRACER_ENABLED"]  # as in the AAR
    command = ["g++", *flags, "-fPIC", "-shared", "-fvisibility=hidden", f"-I{include}"]
    command += [f"-I{include}/executorch/runtime/core/portable_type/c10"]
    command += [
        f"-I{runner.SOURCE.parent}",
        f"-I{java_home}/include",
        f"-I{java_home}/include/linux",
        *map(str, SOURCES),
    ]
    command += [f"-L{package}/lib", "-Wl,--no-as-needed", f"-Wl,-rpath,{package}/lib"]
    command += [f"-l{name}" for name in runner.LIBRARIES]
    recipe = (
        b"".join(path.read_bytes() for path in (*SOURCES, *HEADERS)) + " ".join(command).encode()
    )
    directory = cached(
        f"android-host/{version('executorch')}-{hashlib.sha256(recipe).hexdigest()[:12]}",
        lambda target: call(
            [*command, "-o", str(target / "libhydraopt_host.so")], "compile the JVM's library"
        ),
    )
    return directory / "libhydraopt_host.so"


def kill_library() -> Path:
    """Preloaded, it ends a process at a chosen change of the disk; built the first time."""
    command = ["g++", "-std=c++17", "-O1", "-fPIC", "-shared", str(KILL_AT), "-ldl"]
    recipe = KILL_AT.read_bytes() + " ".join(command).encode()
    directory = cached(
        f"android-kill/{hashlib.sha256(recipe).hexdigest()[:12]}",
        lambda target: call(
            [*command, "-o", str(target / "libkill_at.so")], "compile what kills a JVM"
        ),
    )
    return directory / "libkill_at.so"


def check_passed(report: ElementTree.Element, may_skip: Set[str] = frozenset()) -> None:
    """Assert that all tests of a class passed."""
    cases = report.findall("testcase")
    failures = [x for case in cases for x in (*case.findall("failure"), *case.findall("error"))]
    assert not failures, "\n".join(x.text for x in failures)
    skipped = {case.get("name") for case in cases if case.find("skipped") is not None}
    assert cases and skipped <= may_skip
