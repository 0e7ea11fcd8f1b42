"""The command line: results, and one clear line for every mistake."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys

import pytest
from command_line import fails, hydraopt, names, succeeds

from hydraopt.files import LIST
from hydraopt.merging import METHODS

COMPRESSED_FILES = {
    "adapters.json",
    "layout.json",
    "shared.pack",
    "packs",
    "README.md",
    "errors.png",
}


def test_from_adapters_to_text_and_back_to_peft(adapter_dirs, base, tmp_path):
    merged, bundle, adapter = tmp_path / "m", tmp_path / "b", tmp_path / "a"
    record = json.loads(
        succeeds("compress", *adapter_dirs, "-o", merged, "--budget", "30%", "--json")
    )
    assert record["tasks"] == ["alpha", "beta", "gamma"]
    assert 0.29 < record["share_of_fp16"] <= 0.3
    assert names(merged) == COMPRESSED_FILES
    shown = json.loads(succeeds("info", merged, "--json"))
    assert shown | record == shown
    assert [row["task"] for row in shown["per_task"]] == record["tasks"]
    assert sum(row["bytes"] for row in shown["per_module"]) < record["stored_bytes"]
    assert "up_proj" in succeeds("info", merged)

    exported = hydraopt("export", merged, "--base", base, "-o", bundle, "--json")
    assert "quantised, 8da4w; --quantize none for float32" in exported.stderr
    record = json.loads(exported.stdout)
    assert record["quantize"] == "8da4w"
    assert record["delegation"]["bmm"][0] > 0
    assert record["delegation"]["bmm"][1] == 0
    assert record["pack_bytes"] == sum(f.stat().st_size for f in (bundle / "packs").iterdir())
    assert 0.2 < record["share_of_fp16"] <= shown["share_of_fp16"]
    not_counted = {"manifest.json", "layout.json", "shared.pack", LIST}
    files = [f for f in bundle.rglob("*") if f.is_file() and f.name not in not_counted]
    assert record["total_bytes"] == sum(f.stat().st_size for f in files)
    assert json.loads(succeeds("verify", bundle, "--json"))["tasks"] == 3

    ids = succeeds("run", bundle, "--task", "beta", "--ids", "5,17", "--max-new-tokens", 4)
    assert 1 <= len(ids.strip().split(",")) <= 4
    record = json.loads(
        succeeds("run", bundle, "--task", "beta", "--ids", "5,17", "--max-new-tokens", 4, "--json")
    )
    assert ",".join(map(str, record["ids"])) == ids.strip()
    assert record["tokens_per_second"] > 0
    succeeds("run", bundle, "--task", "beta", "--prompt", "hello", "--max-new-tokens", 4)

    row = json.loads(succeeds("add", bundle, adapter_dirs[0], "--task", "later", "--json"))
    assert row["mean_error"] < 1
    assert succeeds("run", bundle, "--task", "later", "--ids", "5", "--max-new-tokens", 1)
    succeeds("remove", bundle, "--task", "later")
    assert "there are: alpha" in fails("run", bundle, "--task", "later", "--ids", "5")

    succeeds("unmerge", merged, "--task", "beta", "-o", adapter)
    assert names(adapter) == {"adapter_config.json", "adapter_model.safetensors"}
    ranks = json.loads(succeeds("info", adapter, "--json"))["ranks"]
    assert min(ranks) >= 1
    assert "beta" in succeeds("info", bundle)


@pytest.fixture(scope="module")
def merged_dir(merged, tmp_path_factory):
    directory = tmp_path_factory.mktemp("cli") / "merged"
    merged.save(directory)
    return directory


@pytest.mark.slow
def test_mistakes_are_one_line_with_exit_code_1(adapter_dirs, merged_dir, bundle, base, tmp_path):
    nowhere = tmp_path / "nowhere"
    hydra = ("merge", *adapter_dirs, "--method", "hydraopt")
    for arguments, message in [
        (("compress", nowhere, "-o", tmp_path / "x"), "no adapter directory"),
        ((*hydra, "-o", tmp_path / "x", "--set", "clusters=9"), "expected 1 to 3"),
        ((*hydra, "-o", merged_dir), "exists already"),
        (("compress", *adapter_dirs, "-o", merged_dir), "exists already"),
        (("compress", *adapter_dirs, "-o", tmp_path / "x", "--budget", "1kB"), "expected at least"),
        (("info", tmp_path), "is not an adapter, compressed or merged adapters, or a bundle"),
        (("unmerge", merged_dir, "--task", "x", "-o", tmp_path / "x"), "there are: alpha, beta"),
        (("export", nowhere, "--base", base, "-o", tmp_path / "x"), "adapters.json is missing"),
        (("export", merged_dir, "--base", nowhere, "-o", tmp_path / "x"), "neither a directory"),
        (("run", bundle, "--task", "x", "--prompt", "a"), "there are: alpha, beta, gamma"),
        (("run", bundle, "--task", "alpha", "--prompt", "a" * 40), "expected at most 31"),
        (("verify", nowhere), "manifest.json is missing"),
        (("verify", bundle / "model.pte"), "manifest.json is missing"),
    ]:
        error = fails(*arguments)
        assert error.startswith("error: ")
        assert message in error
        assert error.count("\n") == 1
    assert names(tmp_path) == set()


@pytest.mark.slow
def test_wrong_usage_is_exit_code_2(adapter_dirs, bundle, merged_dir, base, tmp_path):
    out = tmp_path / "x"
    merge = ("merge", *adapter_dirs, "-o", out, "--method")
    compress = ("compress", *adapter_dirs, "-o", out)
    for arguments, message in [
        (("run", bundle, "--task", "alpha"), "either --prompt or --ids"),
        (("run", bundle, "--task", "alpha", "--ids", "1,x"), "expected integers"),
        ((*merge, "mean"), "expected one of hydraopt, average"),
        (
            (*merge, "average", "--set", "clusters=2"),
            "method average has no option clusters; its options: rank",
        ),
        ((*merge, "ties", "--base", base), "takes neither --base nor --data"),
        (merge[:-1], "--method"),
        (("export", merged_dir, "--base", base, "-o", out, "--quantize", "9w"), "8da4w"),
        (("compress", *adapter_dirs), "--output"),
        ((*compress, "--budget", "ten"), "expected a share like 10%"),
        ((*compress, "--budget", "9%", "--max-drop", 1), "drop --budget"),
        ((*compress, "--bf16"), "--bf16 goes with --calibration"),
        ((*compress, "--max-drop", 1, "--calibration", out), "drop --calibration"),
        ((*compress, "--max-drop", 1), "--max-drop and --validation go together"),
        ((*compress, "--max-drop", 1, "--validation", out), "run the base model; pass --base"),
        ((*compress, "--calibration", out), "run the base model; pass --base"),
        (("frontier", adapter_dirs[0], "-o", out), "pass ADAPTERS with --base and --data"),
    ]:
        assert message in fails(*arguments, code=2)
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("merge", "x"), "Missing option '--output'"),
        (("nonsense",), "No such command 'nonsense'"),
        (("info",), "Missing argument"),
        (("run", "b", "--task", "t", "--seed", "x"), "Invalid value for '--seed'"),
        (("export", "x", "--quantize", "8da5"), "'--quantize': '8da5' is not one of '8da4w', "),
        (("compress", "x", "-o", "y", "--surprise"), "No such option: --surprise"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_help(arguments, message):
    error = fails(*arguments, code=2)
    assert error.startswith("error: ") and message in error
    assert error.endswith("--help\n") and error.count("\n") == 1


def test_what_nobody_expected_is_one_line_and_a_traceback_with_v(commands, tmp_path):
    code = (
        "from unittest import mock; from hydraopt.cli import main;"
        "mock.patch('hydraopt.cli.report.describe', side_effect=KeyError('x' * 9999)).start();"
        "main()"
    )
    for option in ((), ("-v",)):
        done = commands.run(code, *option, "info", tmp_path)
        assert done.returncode == 1 and not done.stdout
        last = done.stderr.splitlines()[-1]
        assert last.startswith("error: KeyError: 'xxx") and len(last) < 1100
        assert ("Traceback" in done.stderr) == bool(option)


def test_a_terminal_without_a_character_and_a_closed_one_are_no_crash():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", "from hydraopt.cli import main; main()", "info", "/né"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stderr.startswith("error: /n\\xe9 is not an adapter")
    assert done.stderr.count("\n") == 1


def test_any_option_of_a_method_is_settable(adapter_dirs, tmp_path):
    merge = ("merge", *adapter_dirs, "-o", tmp_path / "m", "--method", "ties")
    settings = ("--set", "rank=5", "--set", "density=0.5", "--set", "scale=2", "--json")
    record = json.loads(succeeds(*merge, *settings))
    error = record["settings"].pop("projection_error")
    assert 0 < error < 1
    assert record["settings"] == {"density": 0.5, "scale": 2.0, "rank": 5}
    shown = json.loads(succeeds("info", tmp_path / "m", "--json"))
    assert shown | record == shown | {"settings": record["settings"]}
    assert f"projection_error {error}" in " ".join(succeeds("info", tmp_path / "m").split())
    for pair, message in [
        ("density=much", "option density of method ties is 'much', expected a number"),
        ("keep=1", "method ties has no option keep; its options: density, scale, rank"),
        ("rank", "expected NAME=VALUE"),
    ]:
        assert message in fails(*merge, "--overwrite", "--set", pair, code=2)


def test_methods_that_need_data_read_it(adapter_dirs, base, tmp_path):
    data = tmp_path / "data.jsonl"
    lines = [
        {"task": task, "prompt": prompt, "answer": "x"}
        for task in ("alpha", "beta", "gamma")
        for prompt in ("one", "two")
    ]
    data.write_text("\n".join(map(json.dumps, lines)))
    merge = ("merge", *adapter_dirs, "-o", tmp_path / "m", "--method")
    given = ("--base", base, "--data", data)
    record = json.loads(
        succeeds(*merge, "supermerge", *given, "--set", "steps=2", "--set", "group=2", "--json")
    )
    assert record["settings"]["group"] == 2
    assert names(tmp_path / "m") == {
        "adapters.json",
        "merged.safetensors",
        "README.md",
        "errors.png",
    }
    shutil.rmtree(tmp_path / "m")
    lines[1].pop("answer")
    data.write_text("\n".join(map(json.dumps, lines)))
    assert "data.jsonl, line 2 has no text 'answer'" in fails(*merge, "supermerge", *given)
    data.write_text('{"task": "alpha", "prompt": "one"}')
    assert "has no line for task 'beta'" in fails(*merge, "zipit", *given)
    for arguments, message in [
        (("supermerge", "--base", base), "needs --base and --data, JSON lines of task, prompt and"),
        (("zipit", "--data", data), "needs --base and --data, JSON lines of task and prompt"),
        (("ties", *given), "method ties takes neither --base nor --data"),
    ]:
        assert message in fails(*merge, *arguments, code=2)
    assert names(tmp_path) == {"data.jsonl"}


def test_methods_are_listed():
    listed = json.loads(succeeds("methods", "--json"))
    assert listed.keys() == METHODS.keys()
    assert listed["ties"]["options"] == {"density": 0.2, "scale": 1.0, "rank": None}
    table = succeeds("methods")
    assert all(name in table for name in METHODS)


def test_a_full_disk_leaves_nothing_behind(adapter_dirs, tmp_path):
    """A file-size limit, in a fork, fails the write as a full disk does."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        code = 70
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
            done = hydraopt("compress", *adapter_dirs, "-o", tmp_path / "m")
            os.write(writing, done.stderr.encode())
            code = done.code
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading, encoding="utf-8") as printed:
        assert printed.read().startswith("error: cannot write")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert names(tmp_path) == set()


def test_an_overwritten_output_survives_a_failure(adapter_dirs, merged_dir, tmp_path):
    kept = shutil.copytree(merged_dir, tmp_path / "kept")
    before = (kept / "merged.safetensors").read_bytes()
    merge = ("merge", "-o", kept, "--overwrite", "--method", "hydraopt")
    fails(*merge, *adapter_dirs, "--set", "rank=0")
    assert (kept / "merged.safetensors").read_bytes() == before
    succeeds(*merge, *adapter_dirs[:2])
    assert (kept / "merged.safetensors").read_bytes() != before
    assert names(tmp_path) == {"kept"}
