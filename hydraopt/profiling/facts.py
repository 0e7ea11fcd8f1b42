"""Facts about the device of a measurement."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Android's names of the ABIs, by what `uname -m` says
ABIS = {
    "x86_64": "x86_64",
    "aarch64": "arm64-v8a",
    "arm64": "arm64-v8a",
    "armv7l": "armeabi-v7a",
    "armv8l": "armeabi-v7a",
}
PROPERTIES = (
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.product.cpu.abi",
    "ro.build.version.release",
    "ro.build.version.sdk",
    "ro.kernel.qemu",
    "ro.boot.qemu",
    "ro.hydraopt.tier",
)


@dataclass(frozen=True)
class Facts:
    """A device.

    Attributes:
        serial: adb's serial number; ``host`` for this machine.
        device_type: ``host``, ``phone``, ``Android emulator``, ``emulated Linux device`` (what
            ``hydraopt emulator`` starts) or ``Linux device`` (any other behind adb).
        model: manufacturer's name.
        abi: Android's name of the instruction set, such as ``arm64-v8a``.
        os: name and version, such as ``Android 15 (API 35)``.
        kernel: kernel release.
        cores: number of processors.
        memory_bytes: physical memory.
        tier: ``a`` or ``b`` for an emulated Linux device, otherwise empty.
    """

    serial: str
    device_type: str
    model: str
    abi: str
    os: str
    kernel: str
    cores: int
    memory_bytes: int
    tier: str = ""


def host_facts() -> Facts:
    """Return the facts of this machine."""
    system = platform.uname()
    return Facts(
        serial="host",
        device_type="host",
        model=_cpu_model() or system.machine,
        abi=ABIS.get(system.machine, system.machine),
        os=system.system,
        kernel=system.release,
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")


# one call for everything; devices without getprop print empty values
FACTS_SCRIPT = "\n".join(
    [
        f"for name in {' '.join(PROPERTIES)}; do echo $name=$(getprop $name 2>/dev/null); done",
        "echo kernel=$(uname -r); echo machine=$(uname -m); echo cores=$(nproc)",
        "while read key value rest; do [ $key = MemTotal: ] && echo memory=$value; done"
        " < /proc/meminfo; true",
    ]
)


def parse_facts(serial: str, output: str) -> Facts:
    """Parse the output of :data:`FACTS_SCRIPT`."""
    value = {
        key.strip(): text.strip()
        for key, _, text in (line.partition("=") for line in output.splitlines())
    }
    release, api = value.get("ro.build.version.release"), value.get("ro.build.version.sdk")
    machine = value.get("machine", "")
    names = value.get("ro.product.manufacturer", ""), value.get("ro.product.model", "")
    return Facts(
        serial=serial,
        device_type=_device_type(value),
        model=" ".join(filter(None, names)) or "unknown",
        abi=value.get("ro.product.cpu.abi") or ABIS.get(machine, machine),
        os=f"Android {release} (API {api})" if api else "Linux",
        kernel=value.get("kernel", ""),
        cores=int(value.get("cores") or 0),
        memory_bytes=1024 * int(value.get("memory") or 0),
        tier=value.get("ro.hydraopt.tier", ""),
    )


def _device_type(value: Mapping[str, str]) -> str:
    if value.get("ro.hydraopt.tier"):
        return "emulated Linux device"
    if not value.get("ro.build.version.sdk"):
        return "Linux device"
    emulator = "1" in (value.get("ro.kernel.qemu"), value.get("ro.boot.qemu"))
    return "Android emulator" if emulator else "phone"
