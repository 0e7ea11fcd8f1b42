"""Devices behind adb, driven by the ``adb`` binary, each call with a serial and a timeout."""

import logging
import shlex
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from ..errors import DeviceError, DeviceLostError
from ..files import sha256
from .facts import FACTS_SCRIPT, Facts, parse_facts

logger = logging.getLogger(__name__)

ROOT = "/data/local/tmp/hydraopt"
CACHE = f"{ROOT}/cache"
TIMEOUT = 30.0  # seconds, for small calls
PUSH_RATE = 1e6  # bytes per second of the slowest supported link
PROGRESS_BYTES = 50e6  # less takes under two seconds

END = "hydraopt:end"  # last line of a script's output


def adb(
    arguments: Sequence[str], timeout: float = TIMEOUT, **options
) -> subprocess.CompletedProcess:
    """Run ``adb`` with ``arguments``, capturing its output as text.

    Raises:
        DeviceError: ``adb`` is not installed.
        subprocess.TimeoutExpired: it took longer than ``timeout`` seconds.
    """
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    try:
        return subprocess.run(
            ["adb", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            **options,
        )
    except FileNotFoundError:
        raise DeviceError(
            "adb is not on the PATH; install Android's platform-tools (Debian: apt install adb)"
        ) from None


def last_line(result: subprocess.CompletedProcess) -> str:
    """Return the last line of a failed call's output, or its exit code."""
    lines = (result.stderr + result.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit code {result.returncode}"


@dataclass(frozen=True)
class Device:
    """A device behind adb; :func:`.devices.find_device` finds one."""

    serial: str

    def adb(self, *arguments: str, what: str, timeout: float = TIMEOUT, **options) -> str:
        """Run an adb command on this device and return its standard output.

        Args:
            arguments: as for ``adb -s SERIAL``.
            what: purpose, for messages.
            timeout: seconds.
            options: for :func:`subprocess.run`.

        Raises:
            DeviceLostError: the device disappeared.
            DeviceError: the command failed or timed out, or the device is full.
        """
        try:
            result = adb(["-s", self.serial, *arguments], timeout, **options)
        except subprocess.TimeoutExpired:
            self.check_present(what)
            raise DeviceError(f"device {self.serial} did not {what} in {timeout:.0f} s") from None
        if result.returncode:
            self.check_present(what)
            reason = last_line(result)
            if "No space left" in result.stderr + result.stdout:
                raise DeviceError(
                    f"device {self.serial} has no space left to {what}; free some, for example "
                    f"with: adb -s {self.serial} shell rm -r {ROOT}"
                )
            raise DeviceError(f"device {self.serial} cannot {what}: {reason}")
        return result.stdout

    def check_present(self, what: str) -> None:
        """Raise ``DeviceLostError`` unless the device answers."""
        try:
            probe = adb(["-s", self.serial, "shell", "true"])
        except subprocess.TimeoutExpired:
            probe = None
        if probe is None or probe.returncode:
            raise DeviceLostError(
                f"device {self.serial} went away when asked to {what}; reconnect it and run again"
            )

    def shell(self, script: str, what: str, timeout: float = TIMEOUT) -> str:
        """Run a shell script on the device; return its standard output, raise as :meth:`adb`."""
        # on standard input: some shells limit the length of a command line
        whole = f"{script}\necho {END}\n"
        return self.whole(
            self.adb("shell", "-T", "sh", what=what, timeout=timeout, input=whole), what
        )

    def whole(self, output: str, what: str) -> str:
        """Return the output without :data:`END`.

        It is missing if the connection broke, after which ``adb shell`` still exits with 0.
        """
        if not output.endswith(f"{END}\n"):
            self.check_present(what)
            raise DeviceError(f"device {self.serial} broke off when asked to {what}; run again")
        return output.removesuffix(f"{END}\n")

    def facts(self) -> Facts:
        """Model, ABI, kernel and type of the device. Errors as :meth:`adb`."""
        return parse_facts(self.serial, self.shell(FACTS_SCRIPT, "report what it is"))

    @contextmanager
    def workspace(self) -> Iterator["DeviceWorkspace"]:
        """Create a directory on the device, always removed afterwards.

        Also removes the directories of runs interrupted more than a day ago, and cached files not
        used for a week.
        """
        path = f"{ROOT}/run-{uuid.uuid4().hex[:12]}"
        try:
            self.shell(
                f"set -e; mkdir -p {CACHE}; mkdir {path}\n"
                f"find {CACHE} -type f -mtime +7 -exec rm -f {{}} +\n"
                f"find {ROOT} -maxdepth 1 -name 'run-*' -mtime +1 -exec rm -rf {{}} +\n",
                "make a working directory",
            )
            yield DeviceWorkspace(self, path)
        finally:
            self._remove(path)

    def _remove(self, path: str) -> None:
        """Remove a working directory and kill the process that an interrupted run left in it."""
        kill = f"[ -e {path}/pid ] && kill -9 $(cat {path}/pid) 2>/dev/null"
        try:
            self.shell(f"{kill}\nrm -rf {path} || exit 1", "remove the working directory")
        except DeviceLostError as error:
            # the caller reports the loss; the next run removes the directory
            logger.info("%s: %s", path, error)
        except DeviceError as error:
            logger.warning("%s stays on the device: %s", path, error)


@dataclass(frozen=True)
class DeviceWorkspace:
    """A working directory on a device.

    Attributes:
        device: the device.
        path: absolute path.
    """

    device: Device
    path: str

    def put(self, files: Mapping[str, Path]) -> int:
        """Copy local files to the device under their names, relative to the directory.

        Files are cached on the device by SHA-256 and linked from there, so unchanged files are
        pushed once.

        Returns:
            Number of bytes pushed.

        Raises:
            DeviceError: no space, or as :meth:`Device.adb`.
        """
        hashes = {name: sha256(path) for name, path in files.items()}
        held = self._cached()
        missing = {
            hashes[name]: path
            for name, path in files.items()
            if held.get(hashes[name]) != path.stat().st_size
        }
        total = sum(path.stat().st_size for path in missing.values())
        with tqdm(
            total=total,
            desc=f"push to {self.device.serial}",
            unit="B",
            unit_scale=True,
            disable=total < PROGRESS_BYTES,
        ) as bar:
            for digest, path in missing.items():
                self._push(digest, path)
                bar.update(path.stat().st_size)
        self._link(hashes)
        return total

    def _cached(self) -> dict[str, int]:
        listing = self.device.shell(
            f"cd {CACHE} && stat -c '%n %s' * 2>/dev/null; true", "list its cache"
        )
        return {name: int(size) for name, size in map(str.split, listing.splitlines())}

    def _push(self, digest: str, path: Path) -> None:
        arriving = f"{self.path}/.arriving"
        size = path.stat().st_size
        self.device.adb(
            "push",
            str(path),
            arriving,
            what=f"take {path.name} ({size / 1e6:.1f} MB)",
            timeout=TIMEOUT + size / PUSH_RATE,
        )
        self.device.shell(
            f"chmod 755 {arriving} && mv {arriving} {CACHE}/{digest}", f"store {path.name}"
        )

    def _link(self, hashes: Mapping[str, str]) -> None:
        links = {f"./{name}": f"{CACHE}/{digest}" for name, digest in hashes.items()}
        parents = sorted({str(PurePosixPath(name).parent) for name in links})
        lines = ["set -e", f"cd {self.path}"]
        lines += [f"mkdir -p {shlex.quote(f'./{parent}')}" for parent in parents]
        lines += [f"touch {target}" for target in set(links.values())]  # marks them as used
        lines += [f"ln -sf {target} {shlex.quote(name)}" for name, target in links.items()]
        self.device.shell("\n".join(lines), "link the pushed files")

    def write(self, name: str, text: str) -> None:
        """Write a small text file; raises as :meth:`Device.adb`."""
        target = f"{self.path}/{shlex.quote(name)}"
        self.device.adb("shell", "-T", f"cat > {target}", what=f"write {name}", input=text)

    def run(self, command: Sequence[str], timeout: float) -> subprocess.CompletedProcess:
        """Run a command in the directory and return its exit code and output.

        Raises:
            DeviceLostError: the device disappeared.
            DeviceError: the command took longer than ``timeout`` seconds.
        """
        # the pid file lets :meth:`Device.workspace` kill the command of an interrupted run
        inner = f"echo $$ > pid && exec {shlex.join(command)}"
        script = f"cd {self.path} && sh -c {shlex.quote(inner)}; code=$?; rm -f pid"
        script += f"; echo {END}; exit $code"
        what = f"run {command[-1]}"
        try:
            result = adb(["-s", self.device.serial, "shell", "-T", script], timeout)
        except subprocess.TimeoutExpired:
            self.device.check_present(what)
            raise DeviceError(
                f"device {self.device.serial} did not {what} to the end in {timeout:.0f} s"
            ) from None
        result.stdout = self.device.whole(result.stdout, what)
        return result

    def get(self, name: str, target: Path) -> None:
        """Copy a file of the directory to ``target``; raises as :meth:`Device.adb`."""
        what = f"give back {name}"
        size = int(self.device.shell(f"stat -L -c %s {self.path}/{shlex.quote(name)}", what))
        source = f"{self.path}/{name}"
        self.device.adb("pull", source, str(target), what=what, timeout=TIMEOUT + size / PUSH_RATE)
