"""The README's own commands, run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)[1]


@pytest.mark.slow
def test_the_quickstart_runs(tmp_path):
    (tmp_path / "hydraopt").symlink_to(ROOT / "hydraopt")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euxc", block("bash") + "python -c '" + block("python").replace("'", '"') + "'"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1.234,50\xa0€" in done.stdout
    assert (tmp_path / "money-de" / "adapter_config.json").exists()


def test_every_make_target_and_file_that_is_named_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)", README)) <= targets
    for image in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / image).exists()
    for package in re.findall(r"`([a-z]+)/`", README):
        assert (ROOT / "hydraopt" / package).is_dir() or (ROOT / package).is_dir()
