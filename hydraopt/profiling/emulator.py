"""Emulated devices behind adb: Linux with Debian's adbd and a phone's file layout.

Tier a is a namespace at this machine's speed; tier b an arm64 virtual machine, for correctness on
arm64 only: its times mean nothing.
"""

import json
import os
import platform
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from ..errors import ProfilingError
from ..files import write_json
from .adb import adb
from .cache import cache_directory
from .image import AMD64, ARM64, machine_image, namespace_image
from .ports import accepts, claimed_port
from .process import require_programs

TIERS = ("a", "b")
PROGRAMS = {  # program -> Debian package
    "a": {
        "adb": "adb",
        "bwrap": "bubblewrap",
        "mmdebstrap": "mmdebstrap",
        "gcc": "gcc",
        "readelf": "binutils",
    },
    "b": {
        "adb": "adb",
        "qemu-system-aarch64": "qemu-system-arm",
        "mmdebstrap": "mmdebstrap",
        "cpio": "cpio",
        "readelf": "binutils",
    },
}
NATIVE = {"x86_64": AMD64, "aarch64": ARM64}
# adb's server looks for Android emulators at the odd ports from 5555 to 5585
PORTS = {"a": range(6555, 6655), "b": range(5555, 5587, 2)}
BOOT_SECONDS = {"a": 20.0, "b": 120.0}
ADBD_STARTED = "adbd started"  # in the log


@dataclass(frozen=True)
class Emulator:
    """A started device.

    Attributes:
        tier: ``a`` or ``b``.
        serial: adb's serial number.
        port: TCP port of its adbd on the loopback interface.
        pid: its first process, the leader of the process group of all its processes.
        started: the kernel's start time of that process, which identifies a reused pid; None if
            it ended at once.
    """

    tier: str
    serial: str
    port: int
    pid: int
    started: int | None


def start(tier: str, *, die_with_parent: bool = False) -> Emulator:
    """Start the device of a tier and wait until adb sees it; a running device is returned.

    The first start builds its image: 10 s for tier a, 20 s for tier b.

    Args:
        tier: ``a`` or ``b``.
        die_with_parent: end the device with this process, however that ends; otherwise it runs
            until :func:`stop`.

    Raises:
        ProfilingError: a program is not installed, or the device does not start.
        DeviceError: adb does not work.
    """
    with FileLock(_state_directory() / f"{tier}.lock"):
        return find(tier) or _start(tier, die_with_parent)


def _start(tier: str, die_with_parent: bool) -> Emulator:
    _check_machine(tier)
    _state_file(tier).unlink(missing_ok=True)  # left by a crashed device
    adb(["start-server"])
    name = f"tier-{tier}-{secrets.token_hex(8)}"
    with claimed_port(PORTS[tier], f"tier {tier}") as port:
        command = _namespace_command(port, name) if tier == "a" else _machine_command(port, name)
        with _log_file(tier).open("wb") as log:
            process = subprocess.Popen(
                _supervised(command, die_with_parent),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        serial = f"127.0.0.1:{port}" if tier == "a" else f"emulator-{port - 1}"
        emulator = Emulator(tier, serial, port, process.pid, _start_time(process.pid))
        write_json(_state_file(tier), asdict(emulator))
        try:
            _wait(emulator, process, name)
        except BaseException:
            _end(emulator)
            raise
    return emulator


def stop(tier: str) -> bool:
    """Stop the device of a tier and every process on it; return whether it was running."""
    emulator = find(tier)
    if emulator:
        _end(emulator)
    _state_file(tier).unlink(missing_ok=True)
    return emulator is not None


def find(tier: str) -> Emulator | None:
    """Return the running device of a tier; None if there is none or it crashed."""
    try:
        emulator = Emulator(**json.loads(_state_file(tier).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return emulator if _start_time(emulator.pid) == emulator.started else None


def status() -> list[dict]:
    """Return a record per tier: its serial, and ``running``, ``stopped`` or ``crashed``."""
    records = []
    for tier in TIERS:
        emulator = find(tier)
        crashed = emulator is None and _state_file(tier).exists()
        state = "running" if emulator else "crashed" if crashed else "stopped"
        serial = {"serial": emulator.serial} if emulator else {}
        records.append({"tier": tier, "state": state} | serial)
    return records


@contextmanager
def running(tier: str) -> Iterator[Emulator]:
    """Run a device until the block ends or this process dies."""
    emulator = start(tier, die_with_parent=True)
    try:
        yield emulator
    finally:
        stop(tier)


def _check_machine(tier: str) -> None:
    if platform.system() != "Linux" or (tier == "a" and platform.machine() not in NATIVE):
        raise ProfilingError(
            f"tier {tier} runs on Linux on x86-64 or arm64, found {platform.system()} on "
            f"{platform.machine()}; use a phone or an Android emulator"
        )
    require_programs(PROGRAMS[tier], f"tier {tier}")


def _namespace_command(port: int, name: str) -> list[str]:
    root = namespace_image(NATIVE[platform.machine()])
    environment = {"ADBD_PORT": str(port), "PATH": "/bin:/system/bin", "HOME": "/data"}
    command = ["bwrap", "--die-with-parent", "--ro-bind", str(root), "/", "--clearenv"]
    command += ["--dev", "/dev", "--proc", "/proc", "--ro-bind", "/sys", "/sys"]
    command += ["--tmpfs", "/tmp", "--tmpfs", "/data", "--dir", "/data/local/tmp"]
    command += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", name]
    if os.geteuid():
        command += ["--unshare-user", "--uid", "0", "--gid", "0"]
    for variable, value in environment.items():
        command += ["--setenv", variable, value]
    loader = ["/opt/adbd/loader", "--library-path", "/opt/adbd"]
    return [*command, *loader, "--preload", "/opt/adbd/loopback.so", "/opt/adbd/adbd"]


def _machine_command(port: int, name: str) -> list[str]:
    image = machine_image()
    forward = f"user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:5555"
    # not `-cpu max`: with qemu 7.2 it computes wrong int8 results
    return [
        *("setpriv", "--pdeathsig", "KILL"),
        *("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a76", "-accel", "tcg"),
        *("-smp", "2", "-m", "2048", "-nographic", "-no-reboot"),
        *("-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd.gz")),
        *("-append", f"console=ttyAMA0 quiet panic=-1 hostname={name}"),
        *("-netdev", forward, "-device", "virtio-net-pci,netdev=n0,romfile="),
    ]


def _supervised(command: list[str], die_with_parent: bool) -> list[str]:
    """Wrap a command in a shell with which it dies, as its own flags say.

    The shell outlives this process unless ``die_with_parent``.
    """
    shell = ["sh", "-c", '"$@"; exit $?', "hydraopt-emulator", *command]
    return ["setpriv", "--pdeathsig", "KILL", *shell] if die_with_parent else shell


def _wait(emulator: Emulator, process: subprocess.Popen, name: str) -> None:
    """Wait until the device with host name ``name`` answers at the serial."""
    deadline = time.monotonic() + BOOT_SECONDS[emulator.tier]
    probe = ["-s", emulator.serial, "shell", "uname -n; getprop sys.boot_completed"]
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = _log(emulator.tier).strip().splitlines() or ["it printed nothing"]
            raise ProfilingError(f"tier {emulator.tier} did not start: {lines[-1]}")
        # a virtual machine accepts connections long before it answers them
        if ADBD_STARTED in _log(emulator.tier):
            _connect(emulator)
            with suppress(subprocess.TimeoutExpired):
                if adb(probe, timeout=10).stdout.split() == [name, "1"]:
                    return
        time.sleep(0.1)
    raise ProfilingError(
        f"tier {emulator.tier} did not come up in {BOOT_SECONDS[emulator.tier]:.0f} s; "
        f"its log is {_log_file(emulator.tier)}"
    )


def _connect(emulator: Emulator) -> None:
    """Announce the device to adb's server."""
    if emulator.tier == "a":
        with suppress(subprocess.TimeoutExpired):
            adb(["connect", emulator.serial], timeout=10)
        return
    # as the Android emulator does when it has booted
    request = f"host:emulator:{emulator.port}".encode()
    server = int(os.environ.get("ANDROID_ADB_SERVER_PORT", "5037"))
    with suppress(OSError), socket.create_connection(("127.0.0.1", server), timeout=5) as link:
        link.sendall(b"%04x" % len(request) + request)


def _end(emulator: Emulator) -> None:
    """Kill the process group and wait until its port is closed."""
    if emulator.tier == "a":
        with suppress(subprocess.TimeoutExpired):
            adb(["disconnect", emulator.serial], timeout=10)
    with suppress(ProcessLookupError):
        os.killpg(emulator.pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(emulator.pid, 0)
    deadline = time.monotonic() + 5
    while accepts(emulator.port) and time.monotonic() < deadline:
        time.sleep(0.02)
    _state_file(emulator.tier).unlink(missing_ok=True)


def _start_time(pid: int) -> int | None:
    """Return the kernel's start time of a process; None if it ended or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _state_directory() -> Path:
    """Return the directory of running devices' records: the login's, or one in the cache."""
    root = os.environ.get("XDG_RUNTIME_DIR")
    directory = Path(root) / "hydraopt" if root else cache_directory() / "emulator"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _state_file(tier: str) -> Path:
    return _state_directory() / f"{tier}.json"


def _log_file(tier: str) -> Path:
    return _state_directory() / f"{tier}.log"


def _log(tier: str) -> str:
    return _log_file(tier).read_text(errors="replace")
