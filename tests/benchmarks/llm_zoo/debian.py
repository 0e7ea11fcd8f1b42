"""Download Debian packages and unpack them into the user's cache, without installing them."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hydraopt.errors import DataError
from hydraopt.files import write_json
from hydraopt.profiling.cache import cached

VERSIONS = "packages.json"
KEPT = ("usr/share/locale", "usr/share/dictd", "usr/share/wordnet", "usr/share/doc")


def unpacked(packages: Sequence[str]) -> Path:
    """Directory of the packages' data files; ``packages.json`` in it names their versions.

    Whatever version the machine's mirror has is taken: the file says which one it was.

    Raises:
        DataError: no apt, or a package that it cannot download.
    """
    digest = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:8]
    return cached(f"llm-zoo/packages-{digest}", lambda directory: _fetch(packages, directory))


def _fetch(packages: Sequence[str], directory: Path) -> None:
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory(dir=directory) as place:
        temporary = Path(place)
        _run(["apt-get", "-q", "download", *packages], temporary)
        for package in sorted(temporary.glob("*.deb")):
            fields = _run(["dpkg-deb", "-W", "--showformat=${Package} ${Version}", package])
            name, version = fields.split()
            versions[name] = version
            tree = temporary / package.stem
            _run(["dpkg-deb", "-x", package, tree])
            for kept in KEPT:
                if (tree / kept).exists():
                    shutil.copytree(tree / kept, directory / kept, dirs_exist_ok=True)
            shutil.rmtree(tree)
    write_json(directory / VERSIONS, versions)


def _run(command: Sequence[str | Path], directory: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise DataError(
            f"{command[0]} is not there; the texts come from Debian packages, so prepare them on "
            "Debian or Ubuntu"
        ) from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DataError(f"`{command[0]} {command[1]}` failed ({reason}); try `apt-get update`")
    return done.stdout
