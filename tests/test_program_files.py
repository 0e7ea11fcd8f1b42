"""Programs that are none, in bundles whose digests fit: one line, never the end of the process."""

import random
import shutil
import subprocess
import sys

import pytest
from command_line import fails
from sealed_files import reseal

pytestmark = pytest.mark.slow

EVERY_MUTANT = """
import random, sys
from pathlib import Path
from hydraopt.errors import BundleError
from hydraopt.runtime.native import load_kernels, load_program, loading

load_kernels()
path, draw = Path(sys.argv[1]), random.Random(0)
good = path.read_bytes()
mutants = [draw.randbytes(size) for size in (0, 1, 8, 40, 64, 1000, 100_000)]
mutants += [good[:size] for size in (4, 8, 40, 64, 1000, len(good) // 2, len(good) - 1)]
mutants += [bytes(len(good)), good[:8] + draw.randbytes(len(good) - 8), good[4:]]
for index in range(8, 60):
    mutants += [good[:index] + bytes([value]) + good[index + 1 :] for value in (1, 255)]
for index in range(4, 8):
    mutants += [good[:index] + bytes([value]) + good[index + 1 :] for value in (0, 128, 255)]
refused = 0
for mutant in mutants:
    path.write_bytes(mutant)
    try:
        program = load_program(path, "1.5.1")
        with loading("forward"):
            program.load_method("forward")
    except BundleError as error:
        assert "\\n" not in str(error)
        refused += 1
print(refused, len(mutants))
"""


@pytest.fixture
def copied(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def test_random_cut_and_foreign_programs_are_refused(copied):
    done = subprocess.run(
        [sys.executable, "-c", EVERY_MUTANT, copied / "model.pte"],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stderr == ""
    refused, tried = map(int, done.stdout.split())
    assert tried > 100
    assert refused > tried / 2  # bytes that nothing reads change nothing


def test_a_command_says_so_in_one_line(copied):
    (copied / "model.pte").write_bytes(random.Random(0).randbytes(5000))
    reseal(copied / "manifest.json")
    said = fails("run", copied, "--task", "alpha", "--ids", "1,2")
    assert "model.pte is not an ExecuTorch file: its identifier is" in said
    assert said.count("\n") == 1


def test_a_data_file_of_another_kind_is_refused(copied):
    from hydraopt.errors import BundleError
    from hydraopt.runtime.native import load_program

    (copied / "x.ptd").write_bytes(b"\xff" * 100)
    with pytest.raises(BundleError, match=r"x.ptd is not an ExecuTorch file: .* expected b'FT01'"):
        load_program(copied / "model.pte", "1.5.1", copied / "x.ptd")


def test_a_program_that_crashes_the_runtime_ends_no_verify(copied):
    """The runtime prints the name of an operator that it does not know, which is not UTF-8."""
    program = copied / "model.pte"
    content = program.read_bytes()
    name = b"llama::custom_sdpa"
    assert name in content
    program.write_bytes(content.replace(name, b"\xff" * len(name)))
    reseal(copied / "manifest.json")
    command = [sys.executable, "-m", "hydraopt", "verify", copied]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"error: the process that ran {copied} ended with SIGABRT")
