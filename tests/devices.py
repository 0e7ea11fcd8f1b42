"""A device of each tier, with an adb server and keys of its own, and a tiny real program."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from run_rules import MachineLacksError
from tiny_program import read_bundle, write_bundle

from hydraopt.profiling import emulator
from hydraopt.profiling.adb import Device
from hydraopt.profiling.cache import cache_directory
from hydraopt.profiling.ports import claimed_port
from hydraopt.profiling.process import missing_packages

SERVER_PORTS = range(15037, 15137)  # none that the kernel gives to outgoing connections


@pytest.fixture(scope="session")
def private_adb(tmp_path_factory):
    """Nothing of the user's: no adb server, no keys, no running emulator; the image cache is."""
    root = tmp_path_factory.mktemp("adb")
    environment = {
        "XDG_CACHE_HOME": str(cache_directory().parent),
        "XDG_RUNTIME_DIR": str(root / "run"),
        "HOME": str(root),
    }
    with claimed_port(SERVER_PORTS, "adb's server") as port, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        yield
        if shutil.which("adb"):
            subprocess.run(["adb", "kill-server"], check=False, capture_output=True, timeout=60)


def require_tier(tier: str) -> None:
    """Skip the test if this machine cannot start the device of a tier."""
    require_packages(emulator.PROGRAMS[tier], f"tier {tier}")
    if tier == "a":
        probe = ["bwrap", "--ro-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "true"]
        if subprocess.run(probe, check=False, capture_output=True).returncode:
            raise MachineLacksError("tier a needs root or user namespaces")


def require_packages(programs: dict[str, str], purpose: str) -> None:
    """Skip the test if Debian packages are not installed, by the programs that they bring."""
    packages = missing_packages(programs)
    installed = [name for name in packages if Path(f"/var/lib/dpkg/info/{name}.list").exists()]
    assert not installed, f"{installed} are installed, but their programs are not on the PATH"
    if packages:
        raise MachineLacksError(f"{purpose} needs the Debian packages {' '.join(packages)}")


@pytest.fixture(scope="session")
def tier_a(private_adb):
    require_tier("a")
    with emulator.running("a") as started:
        yield Device(started.serial)


@pytest.fixture(scope="session")
def tier_b(private_adb):
    require_tier("b")
    with emulator.running("b") as started:
        yield Device(started.serial)


@pytest.fixture(scope="session")
def compiler():
    """What builds the runner for this machine and for tier a."""
    require_packages({"g++": "g++"}, "building a runner")


@pytest.fixture(scope="session")
def arm64_compiler():
    package = "g++-aarch64-linux-gnu"
    require_packages({"aarch64-linux-gnu-g++": package}, "building a runner for arm64")


@pytest.fixture(scope="session")
def two_cores():
    """For programs that run with one thread and with two."""
    if len(os.sched_getaffinity(0)) < 2:
        raise MachineLacksError("measuring two threads needs two cores")


@pytest.fixture(scope="session")
def tiny(made):
    return read_bundle(made("tiny", write_bundle))


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Poll; the limit is for what never happens, not for what takes long on a busy machine."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def living_processes(text: str) -> list[str]:
    """Command lines that contain ``text``, zombies and this process left out."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if text in command and int(process.name) != os.getpid():
            found.append(command)
    return found


def living(pid: str) -> bool:
    """Whether a process runs; one that has ended may wait to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
