"""A device of each tier, with an adb server and keys of its own, and a tiny real program."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from tiny_program import write_bundle

from hydraopt.profiling import emulator
from hydraopt.profiling.adb import Device
from hydraopt.profiling.cache import cache_directory
from hydraopt.profiling.process import missing_packages


@pytest.fixture(scope="session")
def private_adb(tmp_path_factory):
    """Nothing of the user's: no adb server, no keys, no running emulator; the image cache is."""
    root = tmp_path_factory.mktemp("adb")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        "XDG_CACHE_HOME": str(cache_directory().parent),
        "XDG_RUNTIME_DIR": str(root / "run"),
        "HOME": str(root),
        "ANDROID_ADB_SERVER_PORT": str(port),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield
        if shutil.which("adb"):
            subprocess.run(["adb", "kill-server"], check=False, capture_output=True, timeout=10)


def require_tier(tier: str) -> None:
    if packages := missing_packages(emulator.PROGRAMS[tier]):
        pytest.skip(f"tier {tier} needs the Debian packages {' '.join(packages)}")
    if tier == "a":
        probe = ["bwrap", "--ro-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "true"]
        if subprocess.run(probe, check=False, capture_output=True).returncode:
            pytest.skip("tier a needs root or user namespaces")


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
def tiny(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("tiny"))


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
