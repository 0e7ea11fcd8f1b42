"""Build the runner, the program that runs on the device, and run scripts with it."""

import hashlib
import json
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ..errors import ProfilingError
from ..private.executorch import INCLUDED, LIBRARIES, MEMBERS, package
from .adb import DeviceWorkspace
from .cache import cached
from .facts import host_facts
from .host import HostWorkspace
from .process import call, error_line, require_programs

SOURCE = Path(__file__).with_name("runner.cpp")
KERNELS = Path(__file__).with_name("llm_kernels.cpp")
HEADERS = tuple(
    Path(__file__).with_name(f"{x}.hpp") for x in ("command", "memory", "reader", "threadpool")
)
FLAGS = (
    *("-std=c++20", "-O3", "-fopenmp-simd", "-w", "-DC10_USING_CUSTOM_GENERATED_MACROS"),
    *("-DET_EVENT_TRACER_ENABLED", "-DET_USE_THREADPOOL"),
)
SYSTEM = (
    *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0"),
    *("libstdc++.so.6", "libgcc_s.so.1"),
)

Workspace = DeviceWorkspace | HostWorkspace


@dataclass(frozen=True)
class Runner:
    """A built runner.

    Attributes:
        command: command line, in the directory of its files.
        files: the program and, for devices without glibc, loader and libraries, by name.
    """

    command: tuple[str, ...]
    files: Mapping[str, Path]


@dataclass(frozen=True)
class Toolchain:
    """An ABI's cross compiler, program loader, and machine name of its wheel."""

    cross: str
    loader: str
    machine: str


TOOLCHAINS = {
    "x86_64": Toolchain("x86-64-linux-gnu", "ld-linux-x86-64.so.2", "x86_64"),
    "arm64-v8a": Toolchain("aarch64-linux-gnu", "ld-linux-aarch64.so.1", "aarch64"),
}


def host_runner() -> Runner:
    """Return the runner for this machine, built the first time; raises ``ProfilingError``."""
    return Runner(("./runner",), {"runner": _build(host_facts().abi)})


def device_runner(abi: str) -> Runner:
    """Return the runner for a device, with loader and C library; built the first time.

    Args:
        abi: Android's name of the ABI.

    Raises:
        ProfilingError: ExecuTorch has no wheel for the ABI, or compiler or wheel are missing.
    """
    binary = _build(abi)
    tools = TOOLCHAINS[abi]
    files = {"runner": binary}
    for name in LIBRARIES:
        files[f"lib/lib{name}.so"] = _package(abi) / "lib" / f"lib{name}.so"
    for name in (tools.loader, *SYSTEM):
        path = call([_compiler(abi), f"-print-file-name={name}"], f"find {name}").strip()
        files[f"lib/{name}"] = Path(path).resolve(strict=True)
    return Runner((f"lib/{tools.loader}", "--library-path", "lib", "./runner"), files)


def own_runner(path: str | Path) -> Runner:
    """Return a runner that the user built from the sources, for example with the NDK.

    Raises:
        ProfilingError: the file does not exist.
    """
    if not Path(path).is_file():
        raise ProfilingError(
            f"there is no runner {path}; build {SOURCE} and {KERNELS.name} for the device and pass "
            "the program"
        )
    return Runner(("./runner",), {"runner": Path(path)})


def run_script(
    workspace: Workspace, runner: Runner, script: Sequence[str], timeout: float = 600
) -> list[dict]:
    """Run a script and return one record per command.

    Args:
        workspace: holds the runner's files and all files that the script names.
        runner: the runner.
        script: commands, described at the top of ``runner.cpp``.
        timeout: seconds.

    Raises:
        ProfilingError: a command failed; the message is the runner's.
        DeviceError: the device was lost or timed out.
    """
    workspace.write("script", "".join(f"{line}\n" for line in script))
    result = workspace.run([*runner.command, "script"], timeout)
    if result.returncode:
        raise ProfilingError(f"the runner failed: {error_line(result)}")
    try:
        records = json.loads(result.stdout.strip().splitlines()[-1])["records"]
    except (IndexError, ValueError, KeyError) as error:
        raise ProfilingError(
            f"the runner printed no result ({error}); expected one built from {SOURCE}"
        ) from None
    if len(records) != len(script):
        raise ProfilingError(
            f"the runner printed {len(records)} records for {len(script)} commands"
        )
    return records


def _build(abi: str) -> Path:
    """Return the path of the runner for an ABI, compiled the first time."""
    if abi not in TOOLCHAINS:
        raise ProfilingError(
            f"no runner for ABI {abi}, only for {' and '.join(TOOLCHAINS)}; "
            f"build {SOURCE} and {KERNELS.name} for it and pass its path",
            options=["runner"],
        )
    wheel = _package(abi)
    command = [_compiler(abi), *FLAGS, *(f"-I{wheel}/{name}" for name in INCLUDED)]
    command += [str(SOURCE), str(KERNELS)]
    command += [f"-L{wheel}/lib", "-Wl,--no-as-needed", *(f"-l{name}" for name in LIBRARIES)]
    command += [f"-Wl,-rpath,{wheel}/lib"]
    sources = b"".join(path.read_bytes() for path in (SOURCE, KERNELS, *HEADERS))
    recipe = hashlib.sha256(sources + " ".join(command).encode()).hexdigest()
    directory = cached(
        f"runner/{version('executorch')}-{abi}-{recipe[:12]}",
        lambda target: call([*command, "-o", str(target / "runner")], "compile the runner"),
    )
    return directory / "runner"


def _compiler(abi: str) -> str:
    """Return the C++ compiler for an ABI; raises ``ProfilingError`` if it is not installed."""
    cross = TOOLCHAINS[abi].cross
    native = abi == host_facts().abi
    program = "g++" if native else f"{cross.replace('x86-64', 'x86_64')}-g++"
    require_programs({program: "g++" if native else f"g++-{cross}"}, f"a runner for {abi}")
    return program


def _package(abi: str) -> Path:
    """Return ExecuTorch's package for an ABI, downloaded unless it is this machine's."""
    if abi == host_facts().abi:
        return package()
    machine, release = TOOLCHAINS[abi].machine, version("executorch")
    directory = cached(
        f"executorch/{release}-{machine}", lambda target: _download(release, machine, target)
    )
    return directory / "executorch"


def _download(release: str, machine: str, target: Path) -> None:
    """Download ExecuTorch's wheel for another machine; unpack its headers and libraries."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    command += ["--only-binary=:all:", "--platform", f"manylinux_2_28_{machine}"]
    command += ["--python-version", python, f"executorch=={release}"]
    with tempfile.TemporaryDirectory(prefix="hydraopt-") as scratch:
        call([*command, "-d", scratch], f"download executorch {release} for {machine}")
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if member.startswith(MEMBERS):
                    archive.extract(member, target)
