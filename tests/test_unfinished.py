"""Long work goes on where it was: finished units lie beside the output until it is written."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from command_line import fails, succeeds

from hydraopt.errors import OutputError
from hydraopt.files import unfinished
from hydraopt.zoo import ADAPTERS, BASE
from hydraopt.zoo.tasks import training_examples

TASKS = ("words-fr", "words-pl")


def counted(number: int, calls: list):
    def compute():
        calls.append(number)
        return {"x": torch.full((3,), number)}

    return compute


def run(output: Path, numbers, calls: list, *, inputs=b"a", ends_after=None):
    with unfinished(output) as kept:
        for number in numbers:
            found = kept.unit(f"unit{number}", [inputs], counted(number, calls))
            assert found["x"].equal(torch.full((3,), number))
            if number == ends_after:
                raise KeyboardInterrupt


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_run_goes_on_where_another_ended_and_leaves_nothing(tmp_path):
    calls: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", range(5), calls, ends_after=2)
    assert names(tmp_path) == {".out.unfinished"}
    run(tmp_path / "out", range(5), calls)
    assert calls == [0, 1, 2, 3, 4]
    assert not names(tmp_path)


def test_a_run_that_ends_before_its_first_unit_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), unfinished(tmp_path / "out"):
        _ = 1 // 0
    assert not names(tmp_path)


def test_units_of_other_inputs_are_computed_anew(tmp_path):
    calls: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", [1], calls, ends_after=1)
    run(tmp_path / "out", [1], calls, inputs=b"b")
    assert calls == [1, 1]
    with pytest.raises(KeyboardInterrupt), unfinished(tmp_path / "out") as kept:
        kept.of([b"base"]).unit("unit1", [b"a"], counted(1, calls))
        kept.of([b"another"]).unit("unit1", [b"a"], counted(1, calls))
        raise KeyboardInterrupt
    assert calls == [1, 1, 1, 1]


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_unit_is_computed_anew(tmp_path, damage):
    calls: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", [1], calls, ends_after=1)
    (path,) = (tmp_path / ".out.unfinished").glob("*.safetensors")
    content = path.read_bytes()
    last = bytes([content[-1] ^ 1]) if damage == "flipped" else b""
    path.write_bytes(content[:-1] + last)
    run(tmp_path / "out", [1], calls)
    assert calls == [1, 1]


def test_two_commands_cannot_have_one_output_in_work(tmp_path):
    with unfinished(tmp_path / "out"):
        with pytest.raises(OutputError, match=r"another command has output .* in work"):
            with unfinished(tmp_path / "out"):
                pass
        message = fails("compress", ADAPTERS / TASKS[0], "-o", tmp_path / "out")
        assert "wait for it, or choose another output" in message
    succeeds("compress", ADAPTERS / TASKS[0], "-o", tmp_path / "out")


def test_files_of_others_are_left(tmp_path):
    directory = tmp_path / ".out.unfinished"
    directory.mkdir()
    (directory / "mine.txt").touch()
    run(tmp_path / "out", [1], [])
    assert names(directory) == {"mine.txt"}


@pytest.mark.slow
def test_a_killed_calibration_goes_on_with_the_same_bytes(tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    lines = [
        json.dumps({"task": task, "prompt": prompt})
        for task in TASKS
        for prompt, _ in training_examples(task, 4)
    ]
    prompts.write_text("\n".join(lines) + "\n")
    command = ["compress", *(ADAPTERS / task for task in TASKS), "--budget", "5%"]
    command += ["--calibration", prompts, "--base", BASE, "-o"]
    process = subprocess.Popen(
        [sys.executable, "-m", "hydraopt", *map(str, [*command, tmp_path / "killed"])]
    )
    directory = tmp_path / ".killed.unfinished"
    while not list(directory.glob("words-fr.*")):
        assert process.poll() is None, "it was too fast to be killed"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed").exists()
    succeeds(*command, tmp_path / "killed")
    succeeds(*command, tmp_path / "whole")
    assert not directory.exists()
    for path in filter(Path.is_file, (tmp_path / "whole").rglob("*")):
        same = tmp_path / "killed" / path.relative_to(tmp_path / "whole")
        assert path.read_bytes() == same.read_bytes()
