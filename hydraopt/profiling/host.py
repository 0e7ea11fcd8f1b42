"""This machine as a device: the same calls as :mod:`.adb`, without adb."""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import ProfilingError
from .facts import Facts, host_facts
from .process import call


@dataclass(frozen=True)
class Host:
    """This machine."""

    serial: str = "host"

    def facts(self) -> Facts:
        """Model, ABI and kernel."""
        return host_facts()

    def shell(self, script: str, what: str) -> str:
        """Run a shell script; its standard output. Raises ``ProfilingError``."""
        return call(["sh", "-c", script], what)

    @contextmanager
    def workspace(self) -> Iterator["HostWorkspace"]:
        """A new directory, removed afterwards."""
        with tempfile.TemporaryDirectory(prefix="hydraopt-") as path:
            yield HostWorkspace(Path(path))


@dataclass(frozen=True)
class HostWorkspace:
    """A directory on this machine."""

    path: Path

    def put(self, files: Mapping[str, Path]) -> int:
        """Link local files under their names; returns the number of bytes copied, 0."""
        for name, path in files.items():
            link = self.path / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(path.resolve())
        return 0

    def write(self, name: str, text: str) -> None:
        """Write a small text file."""
        (self.path / name).write_text(text)

    def run(self, command: Sequence[str], timeout: float) -> subprocess.CompletedProcess:
        """Run a command in the directory; exit code and output as they are.

        Raises:
            ProfilingError: it took longer than ``timeout`` seconds.
        """
        try:
            return subprocess.run(
                command,
                cwd=self.path,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ProfilingError(
                f"{command[-1]} did not finish on this machine in {timeout:.0f} s"
            ) from None

    def get(self, name: str, target: Path) -> None:
        """Copy a file of the directory to ``target``."""
        target.write_bytes((self.path / name).read_bytes())
