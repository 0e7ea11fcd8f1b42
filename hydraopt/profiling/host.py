"""This machine as a device, with the methods of :mod:`.adb`."""

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
        """Return model, ABI and kernel."""
        return host_facts()

    def shell(self, script: str, what: str) -> str:
        """Run a shell script and return its standard output; raises ``ProfilingError``."""
        return call(["sh", "-c", script], what)

    @contextmanager
    def workspace(self) -> Iterator["HostWorkspace"]:
        """Create a directory, removed afterwards."""
        with tempfile.TemporaryDirectory(prefix="hydraopt-") as path:
            yield HostWorkspace(Path(path))


@dataclass(frozen=True)
class HostWorkspace:
    """A directory on this machine."""

    path: Path

    def put(self, files: Mapping[str, Path]) -> int:
        """Link local files under their names; return 0, the number of bytes copied."""
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
        """Run a command in the directory and return its exit code and output.

        Raises:
            ProfilingError: the command took longer than ``timeout`` seconds.
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
